"""A block arrives whole and in order, one after the other, whatever the memory's pauses."""

from __future__ import annotations

import random

import pytest
from amaranth.sim import Simulator

from hw.attention.block_loader import BlockLoader, block_beats
from hw.config import PRESETS

TINY = PRESETS["tiny"]


@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_blocks(stall: float) -> None:
    dut, choose = BlockLoader(TINY), random.Random(21)
    sizes = [1, 16, 272, block_beats(TINY), 3]
    blocks = [[[choose.getrandbits(8) for _ in range(TINY.beat_bytes)] for _ in range(size)] for size in sizes]

    async def bench(ctx) -> None:
        for n, block in enumerate(blocks):
            ctx.set(dut.i_command.payload, {"address": 4096 * n, "beats": len(block)})
            ctx.set(dut.i_command.valid, 1)
            await ctx.tick().repeat(choose.randint(1, 3))
            ctx.set(dut.o_gather.ready, 1)
            _, _, valid, request = await ctx.tick().sample(dut.o_gather.valid, dut.o_gather.payload)
            assert valid
            assert (int(request.address), int(request.beats)) == (4096 * n, len(block))
            ctx.set(dut.o_gather.ready, 0)
            ctx.set(dut.i_command.valid, 0)
            for i, data in enumerate(block):
                while choose.random() < stall:
                    await ctx.tick()
                    assert not ctx.get(dut.done)
                ctx.set(dut.i_gather.payload, {"data": data, "last": int(i == len(block) - 1)})
                ctx.set(dut.i_gather.valid, 1)
                assert ctx.get(dut.i_gather.ready)
                await ctx.tick()
                ctx.set(dut.i_gather.valid, 0)
            assert ctx.get(dut.done)
            ctx.set(dut.read.en, 1)
            for i, data in enumerate(block):
                ctx.set(dut.read.addr, i)
                await ctx.tick()
                assert not ctx.get(dut.done)
                assert [ctx.get(lane) for lane in dut.read.data] == data
            ctx.set(dut.read.en, 0)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
