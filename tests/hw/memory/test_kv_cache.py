"""Appended rows land in memory where `KvLayout` says, byte for byte, and nothing else changes.

`Cache` is a reader of its own: it computes the address of every element and scale from the position alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hw.contract.config import BLOCK_POSITIONS, PRESETS, AccelConfig
from hw.contract.kv_layout import KvLayout
from hw.memory.kv_cache import KvAppend
from sim.golden.number import encode, rnd
from tests.hw.steps import Run, Step, run_steps

TINY = PRESETS["tiny"].replace(max_head_dim=64, rows=4, inputs=10)
CONFIGS = {
    "one port, V = 2": TINY,
    "one port, V = 1, 16 bit": TINY.replace(vector=1, kv_bits=16),
    "one port, a word is a beat": TINY.replace(vector=4, kv_bits=16),
    "one wide port": TINY.replace(port_bits=512, rows=16, inputs=20, vector=4),
    "two ports, V = 1": TINY.replace(ports=2, rows=8, vector=1),
    "two ports, V = 2, 16 bit": TINY.replace(ports=2, port_bits=128, rows=8, inputs=20, kv_bits=16),
    "two ports, V = 4": TINY.replace(ports=2, port_bits=256, rows=16, inputs=20, vector=4),
    "four ports, V = 1, 16 bit": TINY.replace(ports=4, rows=8, inputs=20, vector=1, kv_bits=16),
    "four ports, V = 2": TINY.replace(ports=4, port_bits=128, rows=16, inputs=20),
    "four ports, V = 4, 16 bit": TINY.replace(ports=4, port_bits=128, rows=16, inputs=20, vector=4, kv_bits=16),
}
POSITIONS = [0, 1, 2, 3, 31, 37, 62, 63, 64, 65, 37]
"""Ends of groups and blocks, and one that is written twice."""

BASE = 0x1F40
"""Not at a page."""


class Cache:
    """The cache of a head, as addresses."""

    def __init__(self, config: AccelConfig, head_dim: int) -> None:
        self.config, self.head_dim = config, head_dim
        self.lanes, self.pairs = config.port_bits // config.kv_bits, config.port_bits // 64
        self.key = -(-head_dim // self.lanes)  # beats
        self.group = 1 + self.pairs * self.key
        self.keys = self.group * (BLOCK_POSITIONS // (self.pairs * config.ports))
        self.block = self.keys + BLOCK_POSITIONS // self.lanes * self.column()

    def column(self) -> int:
        """Beats of a port with one element of every dimension that it has."""
        return len(range(0, self.head_dim, self.config.ports))

    def key_group(self, position: int) -> tuple[int, int, int]:
        """Port of a key, first beat of its group, row in the group."""
        row, port = divmod(position % BLOCK_POSITIONS, self.config.ports)
        group, row = divmod(row, self.pairs)
        return port, position // BLOCK_POSITIONS * self.block + group * self.group, row

    def key_at(self, position: int, element: int) -> tuple[int, int]:
        """Port and byte of an element of a key."""
        port, start, row = self.key_group(position)
        beat, lane = divmod(element, self.lanes)
        return port, self.byte(start + 1 + row * self.key + beat, lane * self.config.kv_bits // 8)

    def value_at(self, position: int, element: int) -> tuple[int, int]:
        """Port and byte of an element of a value."""
        block, place = divmod(position, BLOCK_POSITIONS)
        beat, port = divmod(element, self.config.ports)
        group, lane = divmod(place, self.lanes)
        start = block * self.block + self.keys + group * self.column()
        return port, self.byte(start + beat, lane * self.config.kv_bits // 8)

    def scales_at(self, position: int) -> tuple[int, int]:
        """Port and byte of the two scales."""
        port, start, row = self.key_group(position)
        return port, self.byte(start, 8 * row)

    def byte(self, beat: int, lane: int) -> int:
        """Address on a port, from the start of the cache."""
        return beat * self.config.port_bits // 8 + lane


def little(value: int, size: int) -> list[int]:
    return list(int(value).to_bytes(size, "little", signed=value < 0))


def played(config: AccelConfig, head_dim: int, stall: float, simulator: str) -> tuple[Run, NDArray[np.uint8]]:
    """What the unit writes, and the memories of all ports with all that has to be in them. What is not written there is
    -1."""
    layout, cache = KvLayout(config, head_dim), Cache(config, head_dim)
    stride = layout.head_bytes(max(POSITIONS) + 1)
    expected = np.full((config.ports, stride), -1)
    generator = np.random.default_rng(6)
    most = 2 ** (config.kv_bits - 1) - 1
    size = config.kv_bits // 8
    targets, words = [], []
    for position in POSITIONS:
        block, place = divmod(position, BLOCK_POSITIONS)
        rows = generator.integers(-most, most + 1, (2, head_dim))
        scales = rnd(generator.uniform(1e-6, 10, 2))
        for at, row in zip((cache.key_at, cache.value_at), rows.tolist(), strict=True):
            for element, code in enumerate(row):
                port, byte = at(position, element)
                expected[port, byte : byte + size] = little(code, size)
        padded = np.zeros(cache.key * cache.lanes, dtype=int)
        padded[:head_dim] = rows[0]
        for element in range(head_dim, len(padded)):
            port, byte = cache.key_at(position, element)
            expected[port, byte : byte + size] = 0
        port, byte = cache.scales_at(position)
        expected[port, byte : byte + 8] = np.frombuffer(scales.astype("<f4").tobytes(), np.uint8)
        for value, row in enumerate((padded, rows[1])):
            targets.append({"block": BASE + block * layout.block_bytes, "place": place, "value": value})
            parts = row.reshape(-1, config.vector).tolist()
            words += [{"codes": part, "scale": int(encode(scales[value])), "last": int(n == len(parts) - 1)}
                      for n, part in enumerate(parts)]
    names = ("key_beats", "key_group_beats", "keys_beats", "value_group_beats")
    shape = {name: getattr(layout, name) for name in names} | {"block_beats": cache.block}
    outputs = [f"{name}_{n}" for n in range(config.ports) for name in ("o_request", "o")]
    steps = [
        Step(set={"shape": shape, "port_stride": stride}, clocks=config.ports),
        Step(send={"i_row": targets, "i": words}), Step(until="idle"), Step(read=["idle"]),
    ]
    run = run_steps(KvAppend(config), steps, outputs=outputs, stall=stall, seed=13, simulator=simulator)
    assert run.read == [[1]]
    return run, expected


def check(config: AccelConfig, head_dim: int, stall: float, simulator: str = "pysim") -> Run:
    run, expected = played(config, head_dim, stall, simulator)
    memory = np.full_like(expected, -1)
    for port in range(config.ports):
        beats = list(zip(run.clocks[f"o_{port}"], run.received[f"o_{port}"], strict=True))
        requests = zip(run.clocks[f"o_request_{port}"], run.received[f"o_request_{port}"], strict=True)
        for asked, request in requests:
            at = request["address"] - BASE - port * memory.shape[1]
            assert at % config.beat_bytes == 0
            for _ in range(request["beats"]):
                clock, beat = beats.pop(0)
                assert clock > asked, "a beat came before its request"
                for lane in range(config.beat_bytes):
                    if beat["strobe"] >> lane & 1:
                        memory[port, at + lane] = beat["data"][lane]
                at += config.beat_bytes
        assert not beats
    np.testing.assert_array_equal(memory, expected)
    return run


@pytest.mark.parametrize("name", CONFIGS)
def test_rows_in_memory(name: str) -> None:
    check(CONFIGS[name], 24, 0.4)


@pytest.mark.parametrize("name", CONFIGS)
def test_cost(name: str) -> None:
    """A row follows the other; no clock is lost but for the request of the first and the scales of the last."""
    config, head_dim = CONFIGS[name], 64
    clocks = check(config, head_dim, 0.0).clocks["i"]
    key = head_dim // config.vector + 1
    value = head_dim // min(config.vector, config.ports) + 1
    assert clocks[-1] - clocks[0] < len(POSITIONS) * (key + value) + 4


def test_verilated() -> None:
    for stall in (0.0, 0.5):
        check(CONFIGS["four ports, V = 2"], 40, stall, "verilator")
