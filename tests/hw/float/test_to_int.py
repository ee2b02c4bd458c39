# amaranth: UnusedElaboratable=no

"""FloatToInt equals the exact scaled value, rounded half to even and clipped."""

import numpy as np
import pytest

from hw.float.to_int import FloatToInt
from sim.golden.number import decode, encode, rnd, to_int
from tests.hw.float.vectors import assert_equal, random_codes, special_codes, stream

HALVES = encode(rnd(np.concatenate([np.arange(-300, 300) / 2, (np.arange(-300, 300) * 2.0**15 + 1) * 2.0**-16])))


def test_latency():
    assert FloatToInt.LATENCY == 2


@pytest.mark.parametrize("width, limit, simulator", [
    (2, 1, "pysim"), (8, 127, "pysim"), (8, 100, "pysim"), (16, 32767, "verilator"), (24, 8_000_000, "pysim"),
])
def test_equals_golden(width, limit, simulator):
    rng = np.random.default_rng(limit)
    bits = limit.bit_length()
    codes = np.concatenate([
        HALVES, special_codes(), random_codes(rng, 2000), random_codes(rng, 2000, 120, 129 + bits),
        encode(rnd(rng.integers(-2 * limit, 2 * limit + 1, 1000) / 2)),
    ])
    shifts = np.where(rng.random(len(codes)) < 0.6, 0, rng.integers(-256, 256, len(codes)))
    # Some of the random shifts bring the value into the range of the integer again.
    centred = np.clip(127 - (codes >> 16 & 0xFF) + rng.integers(-3, bits + 2, len(codes)), -256, 255)
    shifts = np.where(rng.random(len(codes)) < 0.2, centred, shifts)
    expected = to_int(np.ldexp(decode(codes), shifts), limit)
    assert_equal(stream(FloatToInt(width, limit), simulator, i=codes, shift=shifts), expected, codes, shifts)


def test_refuses_limit():
    with pytest.raises(ValueError, match="limit 128 does not fit a signed result of 8 bits"):
        FloatToInt(8, 128)
