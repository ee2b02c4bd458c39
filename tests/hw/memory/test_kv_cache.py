"""Appended rows land in memory byte for byte as the golden cache keeps them."""

from __future__ import annotations

import numpy as np
import pytest

from hw.contract.config import BLOCK_POSITIONS, PRESETS, AccelConfig
from hw.memory.kv_cache import KvAppend
from sim.bench import run_bench
from sim.golden.attention import KvHead, quantize_kv
from sim.golden.number import encode, rnd
from tests.hw.memory.kv_cache_path import KvCachePath
from tests.hw.steps import Step, run_steps

TINY = PRESETS["tiny"]
CONFIGS = {
    "8 bit": TINY,
    "16 bit": PRESETS["tiny-kv16"],
    "128-bit port, V = 4": TINY.replace(port_bits=128, rows=4, vector=4),
    "512-bit port, V = 1": TINY.replace(port_bits=512, rows=16, vector=1),
}
HEAD_DIM, BASE = 64, 0x2000
PLACES = [0, 1, 15, 7, 16, 31]


def check(config: AccelConfig, stall: float, simulator: str = "pysim") -> None:
    size = config.kv_block_bytes(HEAD_DIM)
    generator = np.random.default_rng(6)
    rows = rnd(generator.normal(size=(6, 2, HEAD_DIM)))
    rows[2] = 0.0
    memory = generator.integers(0, 256, 2 * size, dtype=np.uint8)  # what is not written must stay
    expected = memory.copy()
    golden = KvHead.view(config, expected, HEAD_DIM)
    targets, words = [], []
    for place, (key, value) in zip(PLACES, rows, strict=True):
        golden.append(place, key, value, config.kv_bits)
        for kind, row in enumerate((key, value)):
            codes, scale = quantize_kv(row, config.kv_bits)
            targets.append({
                "block": BASE + place // BLOCK_POSITIONS * size, "place": place % BLOCK_POSITIONS,
                "row_bytes": HEAD_DIM * config.kv_bytes, "value": kind,
            })
            parts = codes.reshape(-1, config.vector).tolist()
            words += [{"codes": part, "scale": int(encode(scale)), "last": int(n == len(parts) - 1)}
                      for n, part in enumerate(parts)]
    run = run_steps(KvAppend(config), [Step(send={"i_row": targets, "i": words})], outputs=["o_request", "o"],
                    stall=stall, seed=13, simulator=simulator)
    written = 0
    beats = list(zip(run.clocks["o"], run.received["o"], strict=True))
    for asked, request in zip(run.clocks["o_request"], run.received["o_request"], strict=True):
        assert request["address"] % config.beat_bytes == 0
        place = request["address"] - BASE
        for _ in range(request["beats"]):
            clock, beat = beats.pop(0)
            assert clock > asked, "a beat came before its request"
            for lane in range(config.beat_bytes):
                if beat["strobe"] >> lane & 1:
                    written += 1
                    memory[place + lane] = beat["data"][lane]
            place += config.beat_bytes
    assert not beats
    assert written == sum(target["row_bytes"] + 4 for target in targets)
    np.testing.assert_array_equal(memory, expected)


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("name", CONFIGS)
def test_memory_equals_golden(name: str, stall: float) -> None:
    check(CONFIGS[name], stall)


def test_verilated() -> None:
    for stall in (0.0, 0.5):
        check(TINY, stall, "verilator")


BENCH_CONFIGS = {
    "8 bit, V = 1": TINY.replace(vector=1, max_head_dim=64),
    "16 bit, V = 4": TINY.replace(port_bits=128, rows=4, vector=4, kv_bits=16, max_head_dim=64),
}


@pytest.mark.parametrize("name", BENCH_CONFIGS)
def test_bench(name: str) -> None:
    """In cocotb, with a memory that stalls: what is appended comes back; the cases are in `kv_cache_bench.py`."""
    config = BENCH_CONFIGS[name]
    run_bench(KvCachePath(config), config, "tests.hw.memory.kv_cache_bench")
