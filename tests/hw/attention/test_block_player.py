"""Query memory and block player over a golden KV block: every row, scale and operand in its place."""

from __future__ import annotations

import random

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from hw.attention.block_player import BlockPlayer
from hw.attention.query_memory import QueryMemory
from hw.config import PRESETS, AccelConfig
from sim.golden.attention import KvHead
from sim.golden.number import encode, rnd

TINY = PRESETS["tiny"].replace(max_group=4)
CONFIGS = {
    "8 bit": TINY,
    "16 bit": TINY.replace(kv_bits=16),
    "128 bit, V = 4": TINY.replace(port_bits=128, rows=4, vector=4),
    "512 bit, V = 1": TINY.replace(port_bits=512, rows=16, vector=1),
}
HEAD_DIM, GROUP = 64, 3


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("name", CONFIGS)
def test_rows(name: str, stall: float) -> None:
    config: AccelConfig = CONFIGS[name]
    rng, choose = np.random.default_rng(41), random.Random(name)
    block = np.zeros(config.kv_block_bytes(HEAD_DIM), dtype=np.uint8)
    golden = KvHead.view(config, block, HEAD_DIM)
    for place in range(16):
        golden.append(place, rnd(rng.normal(size=HEAD_DIM)), rnd(rng.normal(size=HEAD_DIM)), config.kv_bits)
    beats = block.reshape(-1, config.beat_bytes).tolist()
    codes = rng.integers(-32767, 32768, size=(GROUP, HEAD_DIM))
    query_scales = encode(rnd(rng.uniform(0.1, 1, GROUP)))
    row = HEAD_DIM * config.kv_bytes // config.beat_bytes
    plays = [(0, 16, 0), (2, 1, 0), (1, 5, 1), (1, 16, 0), (0, 1, 1), (2, 16, 1)]
    player, query = BlockPlayer(config), QueryMemory(config)
    top = Module()
    top.submodules.player, top.submodules.query = player, query
    wiring.connect(top, player.query, query.read)
    scales, keys, values = [], [], []
    busy = 0

    async def serve_block(ctx) -> None:
        while True:
            _, _, en, address = await ctx.tick().sample(player.block.en, player.block.addr)
            if en:
                ctx.set(player.block.data, beats[int(address)])

    def watch(port, log, seed):
        wait = random.Random(seed)

        async def receive(ctx) -> None:
            while True:
                ctx.set(port.ready, wait.random() >= stall)
                _, _, valid, ready, payload = await ctx.tick().sample(port.valid, port.ready, port.payload)
                if valid and ready:
                    log.append(payload)
        return receive

    async def bench(ctx) -> None:
        nonlocal busy
        for junk in (1, 0):  # a group that was there before must not shine through
            ctx.set(query.clear, 1)
            await ctx.tick()
            ctx.set(query.clear, 0)
            for head in range(GROUP):
                words = (codes[head] * (1 - junk)).reshape(-1, config.vector).tolist()
                for n, word in enumerate(words):
                    ctx.set(query.i.payload, {
                        "codes": word, "scale": int(query_scales[head]), "last": int(n == len(words) - 1)
                    })
                    ctx.set(query.i.valid, 1)
                    await ctx.tick()
                    ctx.set(query.i.valid, 0)
                    while choose.random() < stall:
                        await ctx.tick()
        for head, rows, kind in plays:
            ctx.set(player.i.payload, {"head": head, "rows": rows, "row_beats": row, "values": kind})
            ctx.set(player.i.valid, 1)
            taken = 0
            while not taken:
                busy += 1
                _, _, taken = await ctx.tick().sample(player.i.ready)
            ctx.set(player.i.valid, 0)
        while not ctx.get(player.i.ready):
            busy += 1
            await ctx.tick()
        await ctx.tick().repeat(5)

    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    ends = (watch(player.o_scales, scales, 1), watch(player.o_keys, keys, 2), watch(player.o_values, values, 3))
    for task in (serve_block, *ends):
        simulator.add_testbench(task, background=True)
    simulator.run()

    expected_scales, expected_keys, expected_values = [], [], []
    for head, rows, kind in plays:
        for place in range(rows):
            part = (golden.values if kind else golden.keys)[place // 16, place % 16]
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

    def ints(part) -> list[int]:
        return [int(v) for v in part]

    assert [(int(s.query), int(s.key), int(s.value), int(s.last)) for s in scales] == expected_scales
    assert [(ints(k.beat), ints(k.operands), int(k.first), int(k.last)) for k in keys] == expected_keys
    assert [(ints(v.beat), int(v.last), int(v.last_row)) for v in values] == expected_values
    if not stall:
        assert busy == sum(rows * (row + (1 if kind else 3)) + 1 for _, rows, kind in plays)
