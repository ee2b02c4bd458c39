"""Addresses of KV blocks equal the arithmetic of the golden machine's cache views."""

from __future__ import annotations

import random

import pytest
from amaranth.sim import Simulator

from hw.attention.block_address import HEAD_BITS, SLOT_BITS, BlockAddress
from hw.config import PRESETS

CONFIG = PRESETS["tiny"]
MASK = (1 << CONFIG.address_bits) - 1
NAMED = {
    "origin": (0, 0, 0, 0),
    "last of everything": (2**SLOT_BITS - 1, 2**30, 2**HEAD_BITS - 1, CONFIG.max_positions // 16 - 1),
    "slot alone": (5, 0, 0, 0),
    "head alone": (0, 0, 200, 0),
    "block alone": (0, 0, 0, 129),
}


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_addresses(stall: float) -> None:
    choose = random.Random(8)
    queries = [*NAMED.values()] + [
        (choose.getrandbits(SLOT_BITS), choose.getrandbits(36), choose.getrandbits(HEAD_BITS), choose.getrandbits(8))
        for _ in range(60)
    ]
    base, slot_stride, head_stride, block_bytes = 0x8_0000_0000, 0x0123_4560, 0x4_4000, 4224
    dut = BlockAddress(CONFIG)

    async def bench(ctx) -> None:
        ctx.set(dut.kv_base, base)
        ctx.set(dut.slot_stride, slot_stride)
        ctx.set(dut.head_stride, head_stride)
        ctx.set(dut.block_bytes, block_bytes)
        for slot, layer, head, block in queries:
            ctx.set(dut.i.payload, {"slot": slot, "layer": layer, "head": head, "block": block})
            ctx.set(dut.i.valid, 1)
            assert ctx.get(dut.i.ready)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            clocks = 1
            while not ctx.get(dut.o.valid):
                assert not ctx.get(dut.i.ready)
                await ctx.tick()
                clocks += 1
            assert clocks == dut.latency
            while choose.random() < stall:
                await ctx.tick()
            expected = base + slot * slot_stride + layer + head * head_stride + block * block_bytes
            assert ctx.get(dut.o.payload) == expected & MASK
            ctx.set(dut.o.ready, 1)
            await ctx.tick()
            ctx.set(dut.o.ready, 0)
            assert not ctx.get(dut.o.valid)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
