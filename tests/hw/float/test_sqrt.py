"""FloatSqrt equals rnd(sqrt(a)); negative numbers give zero."""

import numpy as np
import pytest

from hw.float.sqrt import FloatSqrt
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, decode, encode, rnd
from tests.hw.float.vectors import ULP, assert_equal, random_codes, serial, special_codes

CASES = {
    "zero": (0.0, 0.0),
    "negative": (-4.0, 0.0),
    "even_power": (4.0, 2.0),
    "min": (MIN_FLOAT, 2.0**-63),
    "max": (MAX_FLOAT, 2.0**64 * (1 - ULP / 2)),
    "square": (2.25, 1.5),
    "before_one": (1 - ULP / 2, 1 - ULP / 2),
    "after_one": (1 + ULP, 1.0),
    "two_after_one": (1 + 2 * ULP, 1 + ULP),
}


def test_latency():
    assert FloatSqrt.LATENCY == 20


def test_equals_golden():
    rng = np.random.default_rng(5)
    squares = encode(rnd(np.arange(1, 300).astype(float) ** 2))
    a = np.concatenate([special_codes(), squares, random_codes(rng, 1500), random_codes(rng, 1500, 120, 135)])
    keep_negative = rng.random(len(a)) < 0.05
    a = np.where(keep_negative, a, a & 0xFF_FFFF)
    expected = encode(rnd(np.sqrt(np.maximum(decode(a), 0.0))))
    assert_equal(serial(FloatSqrt(), "verilator", a=a), expected, a)


@pytest.mark.parametrize("name", CASES)
def test_named(name):
    a, expected = encode(CASES[name]).tolist()
    assert serial(FloatSqrt(), a=[a])[0] == expected
