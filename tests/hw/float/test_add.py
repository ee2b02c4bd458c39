"""FloatAdd equals rnd(a + b)."""

import pytest

from hw.float.add import FloatAdd
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, decode, encode, rnd
from tests.hw.float.vectors import ULP, assert_equal, pairs, stream

CASES = {
    "zeros": (0.0, 0.0, 0.0),
    "cancellation_is_plus_zero": (-1.5, 1.5, 0.0),
    "cancellation_is_exact": (1.0, -(1 - ULP / 2), ULP / 2),
    "tie_to_even_down": (1.0, ULP / 2, 1.0),
    "tie_to_even_up": (1 + ULP, ULP / 2, 1 + 2 * ULP),
    "above_tie": (1.0, ULP / 2 * (1 + ULP), 1 + ULP),
    "tie_below_a_power_of_two": (1.0, -ULP / 4, 1.0),
    "past_tie_below_a_power_of_two": (1.0, -ULP / 4 * (1 + ULP), 1 - ULP / 2),
    "carry_out_of_rounding": (2 - ULP, ULP / 2, 2.0),
    "far_operand_vanishes": (1.0, -MIN_FLOAT, 1.0),
    "overflow_saturates": (MAX_FLOAT, MAX_FLOAT, MAX_FLOAT),
    "rounding_overflows": (-MAX_FLOAT, -2.0**110, -MAX_FLOAT),
    "underflow_is_plus_zero": (MIN_FLOAT, -MIN_FLOAT * (1 + ULP), 0.0),
}


def test_latency():
    assert FloatAdd.LATENCY == 3


def test_equals_golden():
    a, b = pairs(seed=2, count=10000)
    assert_equal(stream(FloatAdd(), "verilator", a=a, b=b), encode(rnd(decode(a) + decode(b))), a, b)


@pytest.mark.parametrize("name", CASES)
def test_named(name):
    a, b, expected = encode(CASES[name]).tolist()
    assert stream(FloatAdd(), a=[a], b=[b])[0] == expected
