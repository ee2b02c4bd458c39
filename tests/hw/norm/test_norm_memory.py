"""NormMemory returns the bf16 of a LOAD_NORM payload as machine floats, whatever the stalls and the count."""

import numpy as np
import pytest

from hw.norm.norm_memory import NormMemory
from sim.golden.number import encode
from tests.hw.norm.bench import CONFIGS, IDLE_CLOCKS, bf16, chance, random_vector, run, send, split

COUNTS = {"one": 1, "one_short_of_a_word": 3, "one_beat": 4, "one_more_than_two_beats": 17, "full": 160}


def beats(config, values) -> list[list[int]]:
    """The payload: bf16 little endian, the last beat filled with rubbish."""
    raw = (np.asarray(values, dtype=np.float32).view(np.uint32) >> 16).astype("<u2").tobytes()
    raw += b"\xa5" * (-len(raw) % config.beat_bytes)
    return [list(raw[n:n + config.beat_bytes]) for n in range(0, len(raw), config.beat_bytes)]


def load(config, loads, stall=0.0) -> list[int]:
    """Load each vector and compare what can be read; returns the clocks from each start to its done."""
    dut, clocks = NormMemory(config), []
    stalled = chance(7, stall)

    async def sender(ctx):
        for values in loads:
            await send(ctx, dut.i, beats(config, values), stalled)

    async def reader(ctx):
        for values in loads:
            ctx.set(dut.count, len(values))
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            ctx.set(dut.count, 0)
            clock = 1
            while not ctx.get(dut.done):
                await ctx.tick()
                clock += 1
            clocks.append(clock)
            await ctx.tick()
            assert not ctx.get(dut.done)
            for address, word in enumerate(split(values, config.vector)):
                ctx.set(dut.read.en, 1)
                ctx.set(dut.read.addr, address)
                await ctx.tick()
                ctx.set(dut.read.en, 0)
                ctx.set(dut.read.addr, 0)
                await ctx.tick()
                got = [ctx.get(dut.read.data[lane]) for lane in range(config.vector)]
                assert got == encode(word).tolist(), f"word {address}"
        for _ in range(IDLE_CLOCKS):
            assert not ctx.get(dut.i.ready)
            await ctx.tick()

    run(dut, sender, reader)
    return clocks


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_loads(name, stall):
    rng = np.random.default_rng(3)
    load(CONFIGS[name], [bf16(random_vector(rng, count)) for count in COUNTS.values()], stall)


@pytest.mark.parametrize("name", CONFIGS)
def test_clocks(name):
    config = CONFIGS[name]
    loads = [bf16(np.ones(count)) for count in COUNTS.values()]
    assert load(config, loads) == [1 + -(-count // config.vector) for count in COUNTS.values()]


def test_zero_exponent_is_zero():
    config = CONFIGS["pair"]
    dut = NormMemory(config)

    async def bench(ctx):
        ctx.set(dut.count, 2)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        await send(ctx, dut.i, [[0x7F, 0x80, 0x80, 0x80, 0, 0, 0, 0]])
        ctx.set(dut.read.en, 1)
        await ctx.tick()
        await ctx.tick()
        assert [ctx.get(dut.read.data[lane]) for lane in range(2)] == [0, 0x8080 << 9]

    run(dut, bench)
