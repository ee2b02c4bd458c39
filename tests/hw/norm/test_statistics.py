"""NormStatistics equals the golden statistics, whatever the order of the columns, the gaps and the stalls."""

import random

import numpy as np
import pytest

from hw.norm.statistics import NormStatistics
from sim.golden import norm
from sim.golden.number import MAX_FLOAT, encode, rnd
from tests.hw.norm.vectors import CONFIGS, bf16, for_quantizer, random_vector, split
from tests.hw.steps import Step, run_steps
from tests.hw.with_memories import WithMemories, load

SEED = 9


def norm_weights(config, g) -> list[Step]:
    """Steps that fill the norm memory."""
    return load("norm", ({"addr": n, "data": word} for n, word in enumerate(for_quantizer(g, config))))


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


def check(config, rounds, g, order=one_after_the_other, stall=0.0, simulator="pysim") -> None:
    """Each round is one matrix [T, n]; its columns are finished in falling order."""
    steps = norm_weights(config, g)
    for x in rounds:
        steps += [Step(send={"i": order(column_words(config, x))}),
                  Step(send={"i_finish": range(len(x) - 1, -1, -1)})]
    dut = NormStatistics(config)
    run = run_steps(WithMemories(dut), steps, stall=stall, seed=SEED, silence=2 * dut.finish_latency,
                    simulator=simulator)
    assert [tuple(result.values()) for result in run.received["o"]] == [
        result for x in rounds for result in reversed(expected(x, g[:x.shape[1]]))
    ]


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


def test_verilated():
    config, rng = CONFIGS["pair"], np.random.default_rng(SEED)
    named = [ROWS[row](rng, config.columns, n) for row in ROWS for n in LENGTHS.values()]
    check(config, named, bf16(random_vector(rng, 160)), simulator="verilator")
    for order in ORDERS.values():
        check(config, named[-4:], bf16(1 + random_vector(rng, 160)), order, 0.4, "verilator")


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
    steps = norm_weights(config, g)
    for wait in range(waits):
        steps += [
            Step(send={"i": in_turn(column_words(config, old))}), *[Step()] * wait,
            Step(set={"clear": 1}), Step(set={"clear": 0}),
            Step(send={"i": in_turn(column_words(config, new))}), Step(send={"i_finish": range(config.columns)}),
        ]
    dut = NormStatistics(config)
    run = run_steps(WithMemories(dut), steps, silence=2 * dut.finish_latency)
    assert [tuple(result.values()) for result in run.received["o"]] == expected(new, g[:24]) * waits


@pytest.mark.parametrize("name", CONFIGS)
def test_rate_and_latency(name):
    """A word per clock; a finish waits for the words in flight, and what comes behind waits for the finish."""
    config = CONFIGS[name]
    dut = NormStatistics(config)
    words = one_after_the_other(column_words(config, rnd(np.ones((config.columns, 160)))))
    steps = [Step(send={"i": words}), Step(send={"i_finish": [0], "i": words[:1]})]
    clocks = run_steps(WithMemories(dut), steps, silence=2 * dut.finish_latency).clocks
    assert clocks["i"][:-1] == list(range(clocks["i"][0], clocks["i"][0] + len(words)))
    assert clocks["o"] == [clocks["i_finish"][0] + dut.finish_latency]
    assert clocks["i_finish"][0] - clocks["i"][-2] == 8
    assert clocks["i"][-1] >= clocks["o"][0]
    assert dut.finish_latency == {1: 106, 2: 54, 4: 30}[config.vector]
