"""The golden shortlist against section 7.1 row by row in plain integers, and against float64."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from hw.contract.config import ConfigError, preset
from hw.contract.shortlist import SUM_FRACTION_BITS, power_table
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, rnd
from sim.golden.shortlist import PowerSum, best_rows, power_sum, powers, scaled_logits

BOUND = 1e-6
"""Of the log-sum-exp, in nats, without the rounding of powers."""


def row_by_row(logits: np.ndarray, scale: float) -> PowerSum:
    """Section 7.1 as it is written."""
    table, total, reference = power_table(), 0, 0
    for row, logit in enumerate(logits.tolist()):
        exact = abs(Fraction(logit) * Fraction(float(np.float32(scale)))) * 2**20
        x = min(math.floor(exact), 2**39 - 1) * (-1 if logit < 0 else 1)
        above = (x >> 20) + 1
        if row == 0:
            reference = above
        if above > reference:
            total, reference = total >> above - reference, above
        d = (reference << 20) - x
        n, index, rest = d >> 20, d >> 11 & 511, d & 2047
        power = (table[index] << 11) - (table[index] - table[index + 1]) * rest
        total += power if n == 0 else (power + (1 << n - 1)) >> n
    return PowerSum(total, reference)


def log_sum(found: PowerSum) -> float:
    return math.log(found.sum) + (found.reference - SUM_FRACTION_BITS) * math.log(2)


LOGITS = {
    "one": [3.5],
    "zeros": [0.0] * 70,
    "equal": [-7.25] * 70,
    "rising": list(range(-40, 40)),
    "falling": list(range(40, -40, -1)),
    "one huge": [1.0, -2.0, 3e4, 5.0],
    "tiny": [MIN_FLOAT, -MIN_FLOAT, 0.0],
    "a step of more than the sum's bits": [-1000.0, -999.0, 1000.0, 999.5],
    "saturated": [MAX_FLOAT, -MAX_FLOAT, 1.0],
}


@pytest.mark.parametrize("name", LOGITS)
@pytest.mark.parametrize("temperature", [0.05, 1.0, 7.0])
def test_named(name, temperature):
    logits = rnd(np.array(LOGITS[name]))
    assert power_sum(logits, math.log2(math.e) / temperature) == row_by_row(logits, math.log2(math.e) / temperature)


@pytest.mark.parametrize("seed", range(8))
def test_random_rows(seed):
    random = np.random.default_rng(seed)
    logits = rnd(random.normal(size=random.integers(1, 400)) * 10.0 ** random.integers(-3, 4))
    scale = float(np.float32(math.log2(math.e) / 10.0 ** random.uniform(-1, 1)))
    assert power_sum(logits, scale) == row_by_row(logits, scale)


@pytest.mark.parametrize("temperature", [0.1, 0.7, 1.0, 2.0])
def test_log_sum_exp(temperature):
    """128,256 rows: the log-sum-exp is that of float64 but for what section 7.1 states."""
    logits = rnd(np.random.default_rng(5).normal(size=128_256) * 3)
    scaled = logits / temperature
    exact = scaled.max() + math.log(np.exp(scaled - scaled.max()).sum())
    assert abs(log_sum(power_sum(logits, math.log2(math.e) / temperature)) - exact) < BOUND


def test_many_rows_far_below():
    """Rows of 2^-34 of the largest count: with the 16 bits of the softmax they would be lost, or counted twice."""
    logits = rnd(np.array([0.0, *[-20.0] * 128_255]))
    exact = math.log1p(128_255 * math.exp(float(logits[1])))
    assert abs(log_sum(power_sum(logits, math.log2(math.e))) - exact) < BOUND + 128_256 * 2.0**-35


def test_powers():
    d = np.arange(1, 38 << 20, 9973, dtype=np.int64)
    exact = 2.0 ** (SUM_FRACTION_BITS - d / 2**20)
    relative = (math.log(2) / 512) ** 2 / 8 + 2.0**-24  # interpolation; the table, of values above 1/2
    assert np.all(np.abs(powers(d) - exact) <= 0.5 + relative * exact)
    assert powers(np.array([1 << 38, 64 << 20, 37 << 20], dtype=np.int64)).tolist() == [0, 0, 0]


def test_scaled_logits_are_cut_towards_zero():
    assert scaled_logits(np.array([1.5, -1.5]) * 2.0**-20, 1.0).tolist() == [1, -1]


def test_best_rows():
    """Ties at the 64th place go to the lowest rows."""
    logits = np.zeros(200)
    logits[[150, 199, 3]] = [2.0, 1.0, 1.0]
    assert best_rows(logits).tolist() == [150, 3, 199, *(n for n in range(62) if n != 3)]
    assert best_rows(np.array([1.0, 2.0])).tolist() == [1, 0]


def test_hash():
    """Lists make another machine; those without keep the build ID that they had before there were any."""
    assert preset("tiny").replace(shortlist=0).build_id != preset("tiny").build_id
    assert f"{preset('ulx3s').build_id:016x}" == "a4c0ca188425ed3d"
    with pytest.raises(ConfigError, match="shortlist must be 0 or 64, not 3"):
        preset("tiny").replace(shortlist=3)
