"""Exp2 equals the golden table interpolation, code for code."""

import numpy as np
import pytest
from amaranth.hdl import EnableInserter, Module, Signal

from hw.attention.exp2 import Exp2, exp2_table
from sim.golden.attention import EXP2_TABLE, exp2_codes
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, decode, encode, rnd
from tests.hw.float.vectors import assert_equal, stream
from tests.hw.simulation import simulate

CASES = {
    "zero_is_one": (0.0, 65536),
    "smallest_float": (MIN_FLOAT, 65536),
    "one": (1.0, 32768),
    "half": (0.5, 46341),
    "tie_of_the_argument_to_even": (2.0**-17, 65536),
    "last_code_of_one": (16.0, 1),
    "seventeen_is_a_tie_and_goes_up": (17.0, 1),
    "beyond_seventeen": (17 + 2.0**-10, 0),
    "thirty_one": (31.0, 0),
    "argument_saturates": (32.0, 0),
    "largest_float": (MAX_FLOAT, 0),
}


def test_latency():
    assert Exp2.LATENCY == 6


def test_table_is_the_golden_one():
    assert exp2_table() == EXP2_TABLE.tolist()


@pytest.mark.parametrize("name", CASES)
def test_named(name):
    value, expected = CASES[name]
    assert exp2_codes(np.array([value])).tolist() == [expected]
    assert stream(Exp2(), i=encode([value]).tolist())[0] == expected


def test_every_table_entry_at_both_ends():
    z = np.concatenate([np.arange(256) * 256, np.arange(256) * 256 + 255])
    codes = np.concatenate([encode(z / 65536.0), encode([value for value, _ in CASES.values()])])
    assert_equal(stream(Exp2(), "verilator", i=codes), exp2_codes(decode(codes)), codes)


@pytest.mark.parametrize("seed", range(3))
def test_random(seed):
    random = np.random.default_rng(seed)
    spread = np.exp2(random.uniform(-20, 6, 2000))
    codes = encode(rnd(np.concatenate([random.uniform(0, 20, 2000), spread])))
    assert_equal(stream(Exp2(), i=codes), exp2_codes(decode(codes)), codes)


def test_gated():
    """With a random enable the results are the same: the table memory stands still too."""
    random = np.random.default_rng(9)
    codes = encode(rnd(random.uniform(0, 18, 300)))
    top, dut, enable = Module(), Exp2(), Signal()
    top.submodules.dut = EnableInserter(enable)(dut)
    got = []

    async def bench(ctx):
        for clock in range(len(codes) + Exp2.LATENCY - 1):
            ctx.set(enable, 0)
            ctx.set(dut.i, 0x85_0000)
            await ctx.tick().repeat(int(random.integers(0, 3)) + 1)
            ctx.set(enable, 1)
            ctx.set(dut.i, int(codes[min(clock, len(codes) - 1)]))
            await ctx.tick()
            if clock >= Exp2.LATENCY - 1:
                got.append(ctx.get(dut.o))

    simulate(top, bench)
    assert_equal(got, exp2_codes(decode(codes)), codes)
