# amaranth: UnusedElaboratable=no

"""MulToInt equals the exact product, rounded half to even and clipped."""

import numpy as np
import pytest

from hw.float.mul_to_int import MulToInt
from sim.golden.number import decode, encode, to_int
from tests.hw.float.vectors import assert_equal, pairs, random_codes, stream


def test_latency():
    assert MulToInt.LATENCY == 4


@pytest.mark.parametrize("width, limit, simulator", [(2, 1, "pysim"), (8, 127, "verilator"), (16, 32767, "pysim")])
def test_equals_golden(width, limit, simulator):
    rng = np.random.default_rng(limit)
    count, bits = 2000, limit.bit_length()
    special_a, special_b = pairs(seed=limit, count=1000)
    near = random_codes(rng, count, 20, 230)
    partner = np.clip(2 * 127 - (near >> 16 & 0xFF) + rng.integers(-4, bits + 2, count), 1, 254) << 16
    partner |= rng.integers(0, 1 << 16, count)
    ties = encode(rng.integers(-2 * limit, 2 * limit + 1, count) / 2)
    a = np.concatenate([special_a, near, ties])
    b = np.concatenate([special_b, partner, np.full(count, encode(1.0))])
    expected = to_int(decode(a) * decode(b), limit)
    assert_equal(stream(MulToInt(width, limit), simulator, a=a, b=b), expected, a, b)


@pytest.mark.parametrize("a, b, expected", [
    (3.0, 0.5, 2), (5.0, 0.5, 2), (-5.0, 0.5, -2), (2.0, 0.25, 0), (255.0, 0.5, 127), (-256.0, 0.5, -127),
    # Rounded to floats first, these products would be the ties 0.5 and 1.5, and then 0 and 2.
    (1 + 2.0**-8, 0.5 * (1 - 2.0**-8 + 2.0**-16), 1),
    (3 * (1 + 2.0**-9), 0.5 * (1 - 2.0**-9), 1),
])
def test_named(a, b, expected):
    code_a, code_b = encode([a, b]).tolist()
    assert stream(MulToInt(8, 127), a=[code_a], b=[code_b])[0] == expected


def test_refuses_limit():
    with pytest.raises(ValueError, match="limit 0 does not fit a signed result of 8 bits"):
        MulToInt(8, 0)
