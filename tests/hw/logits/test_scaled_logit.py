"""ScaledLogit equals the golden scaled logits, bit for bit."""

import math

import numpy as np
import pytest
from amaranth.hdl import EnableInserter, Module, Signal

from hw.logits.scaled_logit import ScaledLogit
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, decode, encode
from sim.golden.shortlist import scaled_logits
from tests.golden.test_shortlist import LOGITS
from tests.hw.float.vectors import assert_equal, random_codes, special_codes, stream
from tests.hw.simulation import simulate

LARGEST = 2**39 - 1

CASES = {
    "one": (1.0, 1.0, 2**20),
    "zero": (0.0, 1.0, 0),
    "zero_times_the_largest": (0.0, 2.0**127, 0),
    "smallest_result": (2.0**-20, 1.0, 1),
    "cut_to_zero": (2.0**-20, 1 - 2.0**-24, 0),
    "towards_zero": (-1.5 * 2.0**-20, 1.0, -1),
    "all_places_but_one": (2.0**-20 * (2 - 2.0**-16), 2 - 2.0**-23, 3),
    "before_saturation": (2.0**19 - 8, 1.0, 2**39 - 2**23),
    "largest_before_saturation": (2.0**18, 2 - 2.0**-23, 2**39 - 2**15),
    "first_saturated": (2.0**19, 1.0, LARGEST),
    "first_saturated_negative": (-(2.0**19), 1.0, -LARGEST),
    "saturated_without_shift": (2.0**20, 1.0, LARGEST),
    "saturated_to_the_left": (2.0**100, 1.0, LARGEST),
    "largest": (-MAX_FLOAT, 2.0**127, -LARGEST),
    "smallest": (MIN_FLOAT, 2.0**-126, 0),
}
"""Logit, scale and result."""


def scale_code(scale):
    return int(np.float32(scale).view(np.uint32))


def scale_of(code):
    return float(np.uint32(code).view(np.float32))


def golden(codes, scales):
    return np.array([int(scaled_logits(decode(np.array([code])), scale_of(scale))[0])
                     for code, scale in zip(codes, scales, strict=True)])


def check(codes, scales, simulator="pysim"):
    assert_equal(stream(ScaledLogit(), simulator, i=codes, scale=scales), golden(codes, scales), codes, scales)


def random_pairs(seed, count):
    """Half of them with any exponents, half with a result of any number of bits."""
    random = np.random.default_rng(seed)
    codes = random_codes(random, count)
    exponents = random.integers(1, 255, count)
    near = 127 + 127 - (codes >> 16 & 255) + random.integers(-24, 24, count)
    exponents = np.where((random.random(count) < 0.5) & (near > 0) & (near < 255), near, exponents)
    fractions = random.integers(0, 1 << 23, count)
    fractions = np.where(random.random(count) < 0.25, random.integers(-4, 4, count) % (1 << 23), fractions)
    return codes, exponents << 23 | fractions


@pytest.mark.parametrize("name", CASES)
def test_named(name):
    logit, scale, expected = CASES[name]
    codes, scales = encode([logit]), [scale_code(scale)]
    assert golden(codes, scales).tolist() == [expected]
    check(codes, scales)


def test_latency():
    assert ScaledLogit.LATENCY == 6


def test_zero_whatever_the_fraction_says():
    codes = [0, 1, 0xFFFF, 1 << 24, 1 << 24 | 0xFFFF]
    for exponent in (1, 127, 254):
        assert stream(ScaledLogit(), i=codes, scale=[exponent << 23] * len(codes)).tolist() == [0] * len(codes)


@pytest.mark.parametrize("temperature", [0.05, 1.0, 7.0])
def test_special(temperature):
    codes = np.concatenate([special_codes(), *(encode(logits) for logits in LOGITS.values())])
    check(codes, np.full(len(codes), scale_code(math.log2(math.e) / temperature)))


def test_every_place_of_the_shift():
    """The exponents of logit and scale add up to each sum that is possible."""
    sums = np.arange(2, 509)
    codes = np.minimum(sums - 1, 254) << 16 | 0xABCD
    check(codes, (sums - (codes >> 16)) << 23 | 0x5A5A5B)


@pytest.mark.parametrize("seed", range(3))
def test_random(seed):
    check(*random_pairs(seed, 2000))


def test_verilated():
    check(*random_pairs(7, 4000), simulator="verilator")


def test_gated():
    """With a random enable the results are the same."""
    random = np.random.default_rng(9)
    codes, scales = random_pairs(8, 200)
    top, dut, enable = Module(), ScaledLogit(), Signal()
    top.submodules.dut = EnableInserter(enable)(dut)
    got = []

    async def bench(ctx):
        for clock in range(len(codes) + ScaledLogit.LATENCY - 1):
            ctx.set(enable, 0)
            ctx.set(dut.i, 0x85_0000)
            await ctx.tick().repeat(int(random.integers(0, 3)) + 1)
            ctx.set(enable, 1)
            ctx.set(dut.i, int(codes[min(clock, len(codes) - 1)]))
            ctx.set(dut.scale, int(scales[min(clock, len(codes) - 1)]))
            await ctx.tick()
            if clock >= ScaledLogit.LATENCY - 1:
                got.append(ctx.get(dut.o))

    simulate(top, bench)
    assert_equal(got, golden(codes, scales), codes, scales)
