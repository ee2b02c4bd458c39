"""Words land at their place and pass on to the statistics once, whatever stalls."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from hw.config import AccelConfig
from hw.memory.scratchpad import Scratchpad
from hw.memory.vector_writer import VectorWriter

CONFIG = AccelConfig(name="pair", vector=2, columns=3, max_hidden=32, max_intermediate=64)
WORDS, PADDED, BASE = 9, 12, 20


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("watch", [0, 1])
def test_writes_and_passes_on(watch: int, stall: float) -> None:
    writer, scratchpad = VectorWriter(CONFIG), Scratchpad(CONFIG)
    top = Module()
    top.submodules.writer, top.submodules.scratchpad = writer, scratchpad
    wiring.connect(top, writer.write, scratchpad.write)
    choose = random.Random(11)
    words = [
        {"column": column, "index": index, "values": [choose.getrandbits(25) for _ in range(CONFIG.vector)]}
        for index in range(PADDED) for column in range(CONFIG.columns)
    ]
    passed: list[tuple[int, int, list[int]]] = []
    clocks = 0

    async def feed(ctx: Any) -> None:
        nonlocal clocks
        ctx.set(writer.base, BASE)
        ctx.set(writer.words, WORDS)
        ctx.set(writer.watch, watch)
        for word in words:
            while choose.random() < stall:
                await ctx.tick()
            ctx.set(writer.i.payload, word)
            ctx.set(writer.i.valid, 1)
            taken = 0
            while not taken:
                clocks += 1
                _, _, taken = await ctx.tick().sample(writer.i.ready)
            ctx.set(writer.i.valid, 0)
        for word in words:
            ctx.set(scratchpad.read.en, 1)
            ctx.set(scratchpad.read.addr, word["column"] * CONFIG.column_words + BASE + word["index"])
            await ctx.tick()
            assert [ctx.get(lane) for lane in scratchpad.read.data] == word["values"]

    async def receive(ctx: Any) -> None:
        wait = random.Random(12)
        while True:
            ctx.set(writer.o.ready, wait.random() >= stall)
            _, _, valid, ready, word = await ctx.tick().sample(writer.o.valid, writer.o.ready, writer.o.payload)
            if valid and ready:
                passed.append((int(word.column), int(word.index), [int(v) for v in word["values"]]))

    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(feed)
    simulator.add_testbench(receive, background=True)
    simulator.run()
    expected = [(w["column"], w["index"], w["values"]) for w in words if watch and w["index"] < WORDS]
    assert passed == expected
    if not stall:
        assert clocks == len(words)
