# amaranth: UnusedElaboratable=no

"""QuotientCode equals the exact quotient, rounded half to even, whatever the error of the inverse."""

from fractions import Fraction

import numpy as np
import pytest
from amaranth.sim import Simulator

from hw.norm.quotient_code import QuotientCode
from sim.golden.number import MIN_FLOAT, decode, encode, rnd
from tests.hw.float.vectors import ULP, assert_equal, random_codes

SEED = 17
ERRORS = [0.0, 2.0**-10 - ULP, -(2.0**-10) + ULP]


def random_tops(count: int) -> list[float]:
    return decode(random_codes(np.random.default_rng(SEED), count, 10, 254) & 0xFF_FFFF).tolist()


def check(groups: dict[float, np.ndarray], error: float = 0.0) -> None:
    """Values by their top, a value per clock, with inverses that are off by the relative `error`."""
    dut, got, expected = QuotientCode(), [], []
    for top, values in groups.items():
        assert np.abs(values).max() <= top
        expected += [round(127 * Fraction(a) / Fraction(top)) for a in values.tolist()]  # half to even

    async def bench(ctx):
        for top, values in groups.items():
            ctx.set(dut.top, int(encode(top)))
            ctx.set(dut.inverse, int(encode(rnd(127 / top * (1 + error)))))
            for n, code in enumerate([*encode(values).tolist(), *[0] * (dut.LATENCY - 1)]):
                ctx.set(dut.a, code)
                await ctx.tick()
                if n >= dut.LATENCY - 1:
                    got.append(ctx.get(dut.o))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert_equal(got, expected, np.concatenate([encode(values) for values in groups.values()]),
                 np.concatenate([np.full(len(values), encode(top)) for top, values in groups.items()]))


@pytest.mark.parametrize("error", ERRORS)
def test_random(error):
    rng = np.random.default_rng(SEED + 1)
    check({top: rnd(top * rng.uniform(-1, 1, 60)) for top in random_tops(60)}, error)


@pytest.mark.parametrize("error", ERRORS)
def test_next_to_ties(error):
    steps = 1 + ULP * np.arange(-1, 2)[:, None]
    ties = (np.arange(127) + 0.5) / 127
    check({top: rnd(top * ties * steps).ravel() for top in random_tops(15)}, error)


@pytest.mark.parametrize("error", ERRORS)
def test_ties_go_to_even(error):
    """With tops that 127 divides, every code and every tie is a machine float."""
    twice = np.arange(-254, 255)
    check({127.0 * unit: twice / 2 * unit for unit in (1.0, 3 * 2.0**40, 257 * 2.0**-60)}, error)


def test_small_values_and_zero():
    falling = 2.0 ** -np.arange(40)
    groups = {top: rnd(top * np.append(falling, 0.0)) for top in random_tops(20)}
    check(groups | {2.0**-120: np.array([MIN_FLOAT, 2.0**-120, 0.0]), 2.0**127: np.array([MIN_FLOAT, -(2.0**120)])})


def test_latency():
    assert QuotientCode.LATENCY == 6
