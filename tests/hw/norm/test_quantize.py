"""Quantize equals the golden codes, int8 and 16 bit, with stalls on both ends."""

import numpy as np
import pytest

from hw.norm.quantize import Quantize, quantize_command
from sim.golden import norm
from sim.golden.number import MIN_FLOAT, encode, exponent, rnd
from tests.hw.norm.vectors import CONFIGS, bf16, for_quantizer, random_vector, split
from tests.hw.steps import Step, run_steps, run_stream
from tests.hw.with_memories import WithMemories, load

SEED = 5


def huge_outlier(rng: np.random.Generator, n: int) -> np.ndarray:
    x = random_vector(rng, n)
    x[n // 3] = rnd(-1e12)
    return x


ROWS = {
    "all_zero": lambda rng, n: np.zeros(n),
    "huge_outlier": huge_outlier,
    "tiny_values": lambda rng, n: random_vector(rng, n, scale=1e-9),
    "near_underflow": lambda rng, n: random_vector(rng, n, scale=MIN_FLOAT * 64),
    "equal_magnitudes": lambda rng, n: np.where(np.arange(n) % 2, 1.0, -1.0),
    "random": lambda rng, n: random_vector(rng, n, scale=30.0),
}
LENGTHS = {"single_word": 1, "not_a_multiple_of_16": 37, "long": 160}


def memories(config, x, g, base) -> list[Step]:
    """Steps that fill the scratchpad, from word `base` of each column on, and the norm memory."""
    words = [{"column": column, "addr": base + n, "data": word}
             for column, row in enumerate(x) for n, word in enumerate(for_quantizer(row, config))]
    weights = [{"addr": n, "data": word} for n, word in enumerate(for_quantizer(g, config))]
    return load("values", words) + load("norm", weights)


def commands(config, x, g, head, base) -> tuple[list[dict], np.ndarray]:
    """One command per column and the codes they must give."""
    stats = norm.statistics(x, g)
    scale = norm.scale(stats, float(rnd(1 / x.shape[1])), float(rnd(1e-5)))
    codes = norm.quantize_lm_head(x, g, stats.absmax, scale.rstd)[0] if head else norm.quantize(x, g, scale.top)
    words = -(-x.shape[1] // config.quantize_lanes)
    return [
        {"column": column, "base": base, "words": words, "lm_head": head,
         "top": int(encode(scale.top[column])), "inverse": int(encode(rnd(127 / scale.top[column]))),
         "shift": 14 - int(exponent(stats.absmax[column]))}
        for column in range(len(x))
    ], codes


def check(config, parts, stall=0.0, simulator="pysim") -> None:
    """Each part is x, g, head, base; what the memories held before must not count."""
    steps, wanted = [], []
    for x, g, head, base in parts:
        requests, codes = commands(config, x, g, head, base)
        steps += [*memories(config, x, g, base), Step(send={"i_command": requests}), Step(clocks=2 * Quantize.LATENCY)]
        for column, row in enumerate(codes):
            words = split(row, config.quantize_lanes)
            wanted += [{"column": column, "index": n, "codes": [int(c) for c in word], "last": int(n == len(words) - 1)}
                       for n, word in enumerate(words)]
    run = run_steps(WithMemories(Quantize(config)), steps, stall=stall, seed=SEED, simulator=simulator)
    assert run.received["o"] == wanted


def named(config, row, length, head):
    rng, n = np.random.default_rng(SEED), LENGTHS[length]
    x = np.array([ROWS[row](rng, n) for _ in range(config.columns)])
    return x, bf16(random_vector(rng, n)), head, 0


def random_part(config, head):
    rng = np.random.default_rng(SEED)
    return random_vector(rng, config.columns, 83, scale=3.0), bf16(1 + random_vector(rng, 83)), head, 7


@pytest.mark.parametrize("head", [0, 1], ids=["int8", "head"])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("row", ROWS)
def test_named(row, length, head):
    check(CONFIGS["pair"], [named(CONFIGS["pair"], row, length, head)])


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("head", [0, 1], ids=["int8", "head"])
def test_random_with_stalls(name, head):
    check(CONFIGS[name], [random_part(CONFIGS[name], head)], stall=0.4)


def test_verilated():
    config = CONFIGS["pair"]
    parts = [named(config, row, length, head) for row in ROWS for length in LENGTHS for head in (0, 1)]
    check(config, parts, simulator="verilator")
    check(config, [random_part(config, 0), random_part(config, 1)], 0.4, "verilator")


def test_tie_goes_to_even():
    config = CONFIGS["scalar"]
    x = np.array([[2.5, 3.5, -0.5, -1.5, 127.0]])
    requests, codes = commands(config, x, np.ones(5), 0, 0)
    assert requests[0]["top"] == encode(127.0)
    assert codes.tolist() == [[2, 4, 0, -2, 127]]
    check(config, [(x, np.ones(5), 0, 0)])


def test_latency():
    config = CONFIGS["pair"]
    top, inverse = encode([1.0, 127.0]).tolist()
    request = {"column": 1, "base": 0, "words": 20, "lm_head": 0, "top": top, "inverse": inverse, "shift": 0}
    assert set(request) == set(dict(quantize_command(config)))
    _, log = run_stream(WithMemories(Quantize(config)), {"i_command": [request] * 2})
    first = log["i_command"][0] + Quantize.LATENCY
    assert log["o"] == list(range(first, first + 40))
    assert log["i_command"][1] == log["i_command"][0] + 20
    assert Quantize.LATENCY == 12
