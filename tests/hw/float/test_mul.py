"""FloatMul equals rnd(a * b)."""

import pytest

from hw.float.mul import FloatMul
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, decode, encode, rnd
from tests.hw.float.vectors import ULP, assert_equal, pairs, stream

CASES = {
    "zero_times_negative_is_plus_zero": (0.0, -2.0, 0.0),
    "tie_to_even_down": (1 + 3 * ULP, 1.5, 1.5 + 4 * ULP),
    "tie_to_even_up": (1 + ULP, -1.5, -(1.5 + 2 * ULP)),
    "carry_out_of_rounding": (1.5, 87381 * ULP, 2.0),
    "overflow_saturates": (MAX_FLOAT, -2.0, -MAX_FLOAT),
    "rounding_overflows": (2.0**127 * 1.5, 87381 * ULP, MAX_FLOAT),
    "underflow_is_plus_zero": (-MIN_FLOAT, 0.5, 0.0),
    "just_below_min_is_plus_zero": (MIN_FLOAT, 1 - ULP / 2, 0.0),
    "rounding_up_reaches_min": (2.0**-63 * (1 + ULP), 2.0**-63 * (1 - ULP), MIN_FLOAT),
}


def test_latency():
    assert FloatMul.LATENCY == 3


def test_equals_golden():
    a, b = pairs(seed=1, count=8000)
    assert_equal(stream(FloatMul(), "verilator", a=a, b=b), encode(rnd(decode(a) * decode(b))), a, b)


@pytest.mark.parametrize("name", CASES)
def test_named(name):
    a, b, expected = encode(CASES[name]).tolist()
    assert stream(FloatMul(), a=[a], b=[b])[0] == expected
