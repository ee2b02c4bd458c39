"""ScaledSum equals the golden model: a sum and its two scales, with three roundings."""

import numpy as np
import pytest

from hw.dot.scaled_sum import ScaledSum
from sim.golden.number import decode, encode, rnd
from tests.hw.float.vectors import assert_equal, random_codes, stream


@pytest.mark.parametrize("bits", [34, 45])
def test_equals_golden(bits):
    """Sums of logits, and of scores of 16-bit keys."""
    random = np.random.default_rng(4)
    sums = random.integers(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1), 3000) >> random.integers(0, bits - 1, 3000)
    a, b = random_codes(random, 3000, 90, 130), random_codes(random, 3000, 90, 130)
    expected = encode(rnd(rnd(sums) * rnd(decode(a) * decode(b))))
    assert_equal(stream(ScaledSum(bits), "verilator", i=sums, a=a, b=b), expected, sums, a, b)


def test_latency():
    assert ScaledSum.LATENCY == 6
