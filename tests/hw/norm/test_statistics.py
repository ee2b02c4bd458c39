"""NormStatistics equals the golden statistics, whatever the order of the columns, the gaps and the stalls."""

import random

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import memory, wiring

from hw.formats import column_values
from hw.norm.statistics import NormStatistics
from sim.golden import norm
from sim.golden.number import MAX_FLOAT, encode, rnd
from tests.hw.norm.bench import CONFIGS, bf16, chance, random_vector, receive, run, send, split

SEED = 9


class Bench(wiring.Component):
    """NormStatistics with a memory of norm weights."""

    def __init__(self, config, g):
        self.unit = NormStatistics(config)
        self.memory = memory.Memory(shape=column_values(config), depth=config.norm_words,
                                    init=[encode(word).tolist() for word in split(g, config.vector)])
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit, m.submodules.memory = self.unit, self.memory
        read = self.memory.read_port()
        port = self.unit.norm
        m.d.comb += [read.en.eq(port.en), read.addr.eq(port.addr), port.data.eq(read.data)]
        return m


def column_words(config, x) -> list[list[dict]]:
    return [
        [{"column": column, "index": n, "values": encode(word).tolist()}
         for n, word in enumerate(split(row, config.vector))]
        for column, row in enumerate(x)
    ]


def one_after_the_other(words: list[list[dict]]) -> list[dict]:
    return [word for column in words for word in column]


def in_turn(words: list[list[dict]]) -> list[dict]:
    return [word for group in zip(*words, strict=True) for word in group]


def shuffled(words: list[list[dict]]) -> list[dict]:
    """Columns in random order, the words of each in theirs."""
    generator = random.Random(SEED)
    left = [list(column) for column in words]
    out = []
    while any(left):
        out.append(generator.choice([column for column in left if column]).pop(0))
    return out


ORDERS = {f.__name__: f for f in (one_after_the_other, in_turn, shuffled)}


def expected(x, g) -> list[tuple]:
    stats = norm.statistics(x, g)
    return [(n, int(encode(s)), int(encode(a))) for n, (s, a) in
            enumerate(zip(stats.square_sum, stats.absmax, strict=True))]


def check(config, rounds, g, order=one_after_the_other, stall=0.0) -> None:
    """Each round is one matrix [T, n]; its columns are finished in falling order."""
    bench = Bench(config, g)
    dut = bench.unit
    results = [result for x in rounds for result in reversed(expected(x, g[:x.shape[1]]))]

    async def sender(ctx):
        for x in rounds:
            await send(ctx, dut.i, order(column_words(config, x)), chance(SEED, stall))
            await send(ctx, dut.i_finish, range(len(x) - 1, -1, -1), chance(SEED + 1, stall))

    async def receiver(ctx):
        got = await receive(ctx, dut.o, lambda p: (p.column, p.square_sum, p.absmax), len(results),
                            chance(SEED + 2, stall))
        assert got == results

    run(bench, sender, receiver)


def huge_outlier(rng, t, n):
    x = random_vector(rng, t, n)
    x[:, n // 3] = rnd(-1e15)
    return x


def saturating(rng, t, n):
    x = random_vector(rng, t, n)
    x[:, n // 2] = MAX_FLOAT
    return x


ROWS = {
    "all_zero": lambda rng, t, n: np.zeros((t, n)),
    "huge_outlier": huge_outlier,
    "saturating": saturating,
    "tiny_values": lambda rng, t, n: random_vector(rng, t, n, scale=1e-9),
    "random": lambda rng, t, n: random_vector(rng, t, n, scale=30.0),
}
LENGTHS = {"single_element": 1, "one_partial_each": 16, "not_a_multiple_of_16": 37, "long": 160}


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("row", ROWS)
def test_named(row, length):
    config, rng, n = CONFIGS["pair"], np.random.default_rng(SEED), LENGTHS[length]
    check(config, [ROWS[row](rng, config.columns, n)], bf16(random_vector(rng, n)))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_random_orders_and_stalls(name, order, stall):
    config, rng = CONFIGS[name], np.random.default_rng(SEED)
    rounds = [random_vector(rng, config.columns, n, scale=3.0) for n in (90, 5, 64)]
    check(config, rounds, bf16(1 + random_vector(rng, 90)), ORDERS[order], stall)


@pytest.mark.parametrize("name", CONFIGS)
def test_same_partial_in_a_row_waits(name):
    # Only every (16 / V)-th word: all of them use the same partials. The words between count as 0.
    config, rng = CONFIGS[name], np.random.default_rng(SEED)
    x = random_vector(rng, config.columns, 160)
    x *= np.arange(160) % 16 < config.vector
    g = bf16(random_vector(rng, 160))

    def sparse(words):
        return [word for column in words for word in column[::16 // config.vector]]

    check(config, [x], g, sparse)


@pytest.mark.parametrize("name", CONFIGS)
def test_clear_forgets_words_in_flight(name):
    config, rng = CONFIGS[name], np.random.default_rng(SEED)
    g = bf16(1 + random_vector(rng, 24))
    old, new = random_vector(rng, config.columns, 16, scale=1e6), random_vector(rng, config.columns, 24)
    waits = 9
    bench = Bench(config, g)
    dut = bench.unit

    async def sender(ctx):
        for wait in range(waits):
            await send(ctx, dut.i, in_turn(column_words(config, old)))
            for _ in range(wait):
                await ctx.tick()
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            await send(ctx, dut.i, in_turn(column_words(config, new)))
            await send(ctx, dut.i_finish, range(config.columns))

    async def receiver(ctx):
        got = await receive(ctx, dut.o, lambda p: (p.column, p.square_sum, p.absmax), waits * config.columns)
        assert got == expected(new, g[:24]) * waits

    run(bench, sender, receiver)


@pytest.mark.parametrize("name", CONFIGS)
def test_rate_and_latency(name):
    config = CONFIGS[name]
    x = rnd(np.ones((config.columns, 160)))
    bench = Bench(config, np.ones(160))
    dut = bench.unit
    words = one_after_the_other(column_words(config, x))

    async def clocks_until(ctx, signal) -> int:
        clocks = 0
        while not ctx.get(signal):
            await ctx.tick()
            clocks += 1
        return clocks

    async def measure(ctx):
        ctx.set(dut.i.valid, 1)
        for word in words:
            ctx.set(dut.i.payload, word)
            assert ctx.get(dut.i.ready)
            await ctx.tick()
        ctx.set(dut.i_finish.valid, 1)
        assert not ctx.get(dut.i.ready)
        assert 1 + await clocks_until(ctx, dut.i_finish.ready) == 8
        await ctx.tick()
        ctx.set(dut.i_finish.valid, 0)
        assert not ctx.get(dut.i.ready)
        assert 1 + await clocks_until(ctx, dut.o.valid) == dut.finish_latency

    run(bench, measure)
    assert dut.finish_latency == {1: 106, 2: 54, 4: 30}[config.vector]
