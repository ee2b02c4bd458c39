"""Query memory and block player over a golden KV block: every row, scale and operand in its place."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from hw.attention.block_player import BlockPlayer
from hw.attention.query_memory import QueryMemory
from hw.attention.query_quantize import query_codes
from hw.contract.config import BLOCK_POSITIONS, PRESETS, AccelConfig
from sim.golden.attention import KvHead
from sim.golden.number import encode, rnd
from tests.hw.steps import Step, run_steps
from tests.hw.with_memories import WithMemories, load

TINY = PRESETS["tiny"].replace(max_group=4)
CONFIGS = {
    "8 bit": TINY,
    "16 bit": TINY.replace(kv_bits=16),
    "128 bit, V = 4": TINY.replace(port_bits=128, rows=4, vector=4),
    "512 bit, V = 1": TINY.replace(port_bits=512, rows=16, vector=1),
}
HEAD_DIM, GROUP = 64, 3
OUTPUTS = ("o_scales", "o_keys", "o_values")


class PlayerAndQueries(wiring.Component):
    """The block player in front of a query memory, which is filled through `queries`."""

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        self.player, self.query = BlockPlayer(config), QueryMemory(config)
        members = dict(self.player.signature.members)
        del members["query"]
        super().__init__(members | {
            "queries": In(stream.Signature(query_codes(config))), "clear": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.player, m.submodules.query = player, query = self.player, self.query
        wiring.connect(m, player.query, query.read)
        wiring.connect(m, wiring.flipped(self.i), player.i)
        wiring.connect(m, player.block, wiring.flipped(self.block))
        for name in OUTPUTS:
            wiring.connect(m, getattr(player, name), wiring.flipped(getattr(self, name)))
        m.d.comb += [query.clear.eq(self.clear), query.i.valid.eq(self.queries.valid), self.queries.ready.eq(1),
                     query.i.payload.eq(self.queries.payload)]
        return m


def check(config: AccelConfig, stall: float, simulator: str = "pysim") -> None:
    rng = np.random.default_rng(41)
    block = np.zeros(config.kv_block_bytes(HEAD_DIM), dtype=np.uint8)
    golden = KvHead.view(config, block, HEAD_DIM)
    for place in range(16):
        golden.append(place, rnd(rng.normal(size=HEAD_DIM)), rnd(rng.normal(size=HEAD_DIM)), config.kv_bits)
    beats = block.reshape(-1, config.beat_bytes).tolist()
    codes = rng.integers(-32767, 32768, size=(GROUP, HEAD_DIM))
    query_scales = encode(rnd(rng.uniform(0.1, 1, GROUP)))
    row = HEAD_DIM * config.kv_bytes // config.beat_bytes
    plays = [(0, 16, 0), (2, 1, 0), (1, 5, 1), (1, 16, 0), (0, 1, 1), (2, 16, 1)]
    steps = load("block", ({"addr": n, "data": beat} for n, beat in enumerate(beats)))
    for junk in (1, 0):  # a group that was there before must not shine through
        words = [
            {"codes": word, "scale": int(query_scales[head]), "last": int(n == HEAD_DIM // config.vector - 1)}
            for head in range(GROUP)
            for n, word in enumerate((codes[head] * (1 - junk)).reshape(-1, config.vector).tolist())
        ]
        steps += [Step(set={"clear": 1}), Step(set={"clear": 0}), Step(send={"queries": words})]
    commands = [{"head": head, "rows": rows, "row_beats": row, "values": kind} for head, rows, kind in plays]
    last = Step(send={"i": commands})
    run = run_steps(WithMemories(PlayerAndQueries(config)), [*steps, last], outputs=OUTPUTS, stall=stall, seed=41,
                    simulator=simulator)

    expected_scales, expected_keys, expected_values = [], [], []
    for head, rows, kind in plays:
        for place in range(rows):
            part = (golden.values if kind else golden.keys)[divmod(place, BLOCK_POSITIONS)]
            lanes = np.ascontiguousarray(part).view(np.uint8).reshape(row, -1).tolist()
            operands = codes[head].repeat(config.kv_bytes).reshape(row, -1).tolist()
            if kind:
                expected_values += [(lane, int(n == row - 1), int(place == rows - 1)) for n, lane in enumerate(lanes)]
            else:
                pair = encode(golden.scales[0, place].astype(np.float64)).tolist()
                expected_scales.append((int(query_scales[head]), *pair, int(place == rows - 1)))
                expected_keys += [
                    (lane, ops, int(n == 0), int(n == row - 1))
                    for n, (lane, ops) in enumerate(zip(lanes, operands, strict=True))
                ]

    scales, keys, values = (run.received[name] for name in OUTPUTS)
    assert [tuple(word.values()) for word in scales] == expected_scales
    assert [tuple(word.values()) for word in keys] == expected_keys
    assert [tuple(word.values()) for word in values] == expected_values
    if not stall:
        gaps = [later - earlier for earlier, later in itertools.pairwise(run.clocks["i"])]
        assert gaps == [rows * (row + (1 if kind else 3)) + 1 for _, rows, kind in plays[:-1]]


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("name", CONFIGS)
def test_rows(name: str, stall: float) -> None:
    check(CONFIGS[name], stall)


def test_verilated() -> None:
    for stall in (0.0, 0.5):
        check(CONFIGS["8 bit"], stall, "verilator")
