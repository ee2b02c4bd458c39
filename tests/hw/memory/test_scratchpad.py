"""Scratchpad returns what was written last, one clock after the address, and holds it."""

import random

import pytest
from amaranth.sim import Simulator

from hw.config import AccelConfig
from hw.memory.scratchpad import Scratchpad, scratchpad_depth

SIZES = {"max_hidden": 32, "max_intermediate": 64}
CONFIGS = {
    "scalar": AccelConfig(name="scalar", vector=1, columns=1, **SIZES),
    "pair": AccelConfig(name="pair", vector=2, columns=3, **SIZES),
    "quad": AccelConfig(name="quad", vector=4, rows=4, inputs=10, columns=2, **SIZES),
}


def run(config, bench):
    dut = Scratchpad(config)
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)

    async def start(ctx):
        await bench(ctx, dut)

    simulator.add_testbench(start)
    simulator.run()


def word_read(ctx, dut):
    return [ctx.get(lane) for lane in dut.read.data]


@pytest.mark.parametrize("name", CONFIGS)
def test_random(name):
    """Reads and writes in every clock, often of the same word; the first and the last word among them."""
    config, choose = CONFIGS[name], random.Random(name)
    depth = scratchpad_depth(config)
    places = [0, 1, depth - 2, depth - 1, *choose.sample(range(2, depth - 2), 4)]

    async def bench(ctx, dut):
        content, expected = {}, [0] * config.vector
        for _ in range(2000):
            read, write = choose.random() < 0.7, choose.random() < 0.7
            source, target = choose.choice(places), choose.choice(places)
            word = [choose.getrandbits(25) for _ in range(config.vector)]
            ctx.set(dut.read.en, read)
            ctx.set(dut.read.addr, source)
            ctx.set(dut.write.en, write)
            ctx.set(dut.write.addr, target)
            ctx.set(dut.write.data, word)
            if read:
                expected = content.get(source, [0] * config.vector)
            if write:
                content[target] = word
            await ctx.tick()
            assert word_read(ctx, dut) == expected

    run(config, bench)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_word_is_its_own(name):
    config = CONFIGS[name]

    async def bench(ctx, dut):
        words = range(scratchpad_depth(config))
        ctx.set(dut.write.en, 1)
        for address in words:
            ctx.set(dut.write.addr, address)
            ctx.set(dut.write.data, [address * config.vector + lane for lane in range(config.vector)])
            await ctx.tick()
        ctx.set(dut.write.en, 0)
        ctx.set(dut.read.en, 1)
        for address in words:
            ctx.set(dut.read.addr, address)
            await ctx.tick()
            assert word_read(ctx, dut) == [address * config.vector + lane for lane in range(config.vector)]

    run(config, bench)
