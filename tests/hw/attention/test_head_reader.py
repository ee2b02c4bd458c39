"""Heads come out of the scratchpad in order, rotated as in the golden model or untouched."""

from __future__ import annotations

import random

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from hw.attention.head_reader import HeadReader
from hw.attention.rope import Rope
from hw.config import PRESETS, AccelConfig
from hw.memory.scratchpad import Scratchpad
from sim.golden.attention import rope
from sim.golden.number import encode, rnd

SMALL = PRESETS["tiny"].replace(max_hidden=128, max_intermediate=128)
CONFIGS = {"V = 2": SMALL, "V = 1": SMALL.replace(vector=1), "V = 4": SMALL.replace(vector=4, rows=4, inputs=10)}
HEAD_DIM = 32


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("name", CONFIGS)
def test_heads(name: str, stall: float) -> None:
    config: AccelConfig = CONFIGS[name]
    reader, scratchpad = HeadReader(config), Scratchpad(config)
    top = Module()
    top.submodules.reader, top.submodules.scratchpad = reader, scratchpad
    wiring.connect(top, reader.read, scratchpad.read)
    rng, choose = np.random.default_rng(31), random.Random(name)
    half = HEAD_DIM // 2 // config.vector
    angles = rng.uniform(0, 7, size=(config.columns, HEAD_DIM // 2))
    cos, sin = rnd(np.cos(angles)), rnd(np.sin(angles))
    heads = [(n % 2, 5 + n * 2 * half, int(n % 3 != 1), rnd(rng.normal(size=HEAD_DIM))) for n in range(6)]
    received: list[list[int]] = [[]]
    clocks = []

    async def serve_rope(ctx) -> None:
        while True:
            _, _, en, column, word = await ctx.tick().sample(reader.rope.en, reader.rope.column, reader.rope.word)
            if en:
                part = slice(int(word) * config.vector, (int(word) + 1) * config.vector)
                ctx.set(reader.rope.cos, encode(cos[int(column), part]).tolist())
                ctx.set(reader.rope.sin, encode(sin[int(column), part]).tolist())

    async def bench(ctx) -> None:
        for column, base, _, row in heads:
            for word, values in enumerate(encode(row).reshape(2 * half, -1).tolist()):
                ctx.set(scratchpad.write.addr, column * config.column_words + base + word)
                ctx.set(scratchpad.write.data, values)
                ctx.set(scratchpad.write.en, 1)
                await ctx.tick()
        ctx.set(scratchpad.write.en, 0)
        for column, base, rotate, _ in heads:
            ctx.set(reader.i.payload, {"column": column, "base": base, "half_words": half, "rotate": rotate})
            ctx.set(reader.i.valid, 1)
            assert ctx.get(reader.i.ready)
            await ctx.tick()
            ctx.set(reader.i.valid, 0)
            last, clock = 0, 0
            while not last:
                ctx.set(reader.o.ready, choose.random() >= stall)
                clock += 1
                _, _, valid, ready, word = await ctx.tick().sample(reader.o.valid, reader.o.ready, reader.o.payload)
                if valid and ready:
                    received[-1] += [int(v) for v in word["values"]]
                    last = int(word.last)
            received.append([])
            clocks.append(clock)

    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.add_testbench(serve_rope, background=True)
    simulator.run()
    for (column, _, rotate, row), got in zip(heads, received[:-1], strict=True):
        expected = rope(row, cos[column], sin[column]) if rotate else row
        assert got == encode(expected).tolist()
    if not stall:
        assert clocks == [2 * half * (4 + (Rope.LATENCY - 1) * rotate) for _, _, rotate, _ in heads]
