"""Rescale equals the golden rescale, bit for bit, with a factor per column."""

import numpy as np
import pytest

from hw.array.rescale import Rescale
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, encode, rnd
from sim.golden.rescale import rescale
from tests.hw.simulation import simulate
from tests.hw.steps import Step
from tests.hw.vectors import CONFIGS, check, words

LARGEST = 127 * 64
"""Largest sum of the configurations: 127 * max_k."""

CASES = {
    "zero_sum": (0, 0.37),
    "zero_factor": (77, 0.0),
    "one": (1, 1.0),
    "minus_one": (-1, 0.1),
    "largest": (LARGEST, 0.01),
    "smallest": (-LARGEST, 0.01),
    "overflow_saturates": (LARGEST, MAX_FLOAT),
    "negative_overflow_saturates": (-LARGEST, MAX_FLOAT),
    "least_float": (-1, MIN_FLOAT),
}


def compare(config, pairs, stall=0.0, seed=0, simulator="pysim") -> None:
    """Pairs of sums, a row per column, and factors."""
    def write(factor) -> list[Step]:
        steps = [Step(set={"i_factor": {"column": column, "factor": code}, "i_factor_en": 1})
                 for column, code in enumerate(encode(factor).tolist())]
        return [*steps, Step(set={"i_factor_en": 0})]

    parts = [(write(factor), words(config, sums, "sums"), rescale(sums, factor)) for sums, factor in pairs]
    check(Rescale(config), parts, stall, seed, simulator)


def named(config, name):
    total, factor = CASES[name]
    return np.full((config.columns, 2 * config.vector), total), np.full(config.columns, rnd(factor))


def random_sums(config):
    rng = np.random.default_rng(5)
    return rng.integers(-LARGEST, LARGEST + 1, (config.columns, 64)), rnd(rng.random(config.columns) + 1e-3)


@pytest.mark.parametrize("name", CASES)
def test_named(name):
    compare(CONFIGS["pair"], [named(CONFIGS["pair"], name)])


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0.0, 0.3, 0.7])
def test_random(name, stall):
    compare(CONFIGS[name], [random_sums(CONFIGS[name])], stall, seed=6)


def test_verilated():
    config = CONFIGS["pair"]
    vectors = [*(named(config, name) for name in CASES), random_sums(config)]
    for stall in (0.0, 0.4):
        compare(config, vectors, stall, 6, "verilator")


def test_sums_of_the_longest_vector_are_rounded():
    """With max_k = 2048 a sum has 18 bits plus sign: F(sum) rounds."""
    config = CONFIGS["pair"].replace(max_intermediate=2048)
    rng = np.random.default_rng(7)
    extreme = 127 * config.max_k
    sums = extreme - rng.integers(0, 4000, (config.columns, 200))
    sums[:, 0] = extreme
    sums *= rng.choice([-1, 1], sums.shape)
    assert (rnd(sums) != sums).any()
    compare(config, [(sums, rnd(rng.random(config.columns)))])


def test_factor_counts_for_words_accepted_after_its_write():
    """The factor changes while older words are in the pipeline, and in the very clock of an acceptance."""
    config = CONFIGS["scalar"]
    dut, got = Rescale(config), []

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.i.payload, {"sums": [1]})
        ctx.set(dut.i_factor_en, 1)
        for factor in (1.0, 2.0, 3.0, 4.0):
            ctx.set(dut.i_factor, {"factor": int(encode(factor))})
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        for _ in range(dut.LATENCY):
            if ctx.get(dut.o.valid):
                got.append(ctx.get(dut.o.payload.values[0]))
            await ctx.tick()

    simulate(dut, bench)
    assert got == encode([0.0, 1.0, 2.0, 3.0]).tolist()
