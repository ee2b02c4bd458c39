# amaranth: UnusedElaboratable=no

"""QuotientCode equals the exact quotient, rounded half to even, whatever the error of the inverse."""

from fractions import Fraction

import numpy as np
import pytest

from hw.norm.quotient_code import QuotientCode
from sim.golden.number import MIN_FLOAT, decode, encode, rnd
from tests.hw.float.vectors import ULP, assert_equal, random_codes
from tests.hw.steps import Step, run_steps

SEED = 17
ERRORS = [0.0, 2.0**-10 - ULP, -(2.0**-10) + ULP]


def random_tops(count: int) -> list[float]:
    return decode(random_codes(np.random.default_rng(SEED), count, 10, 254) & 0xFF_FFFF).tolist()


def check(groups: dict[float, np.ndarray], error: float = 0.0, simulator: str = "pysim") -> None:
    """Values by their top, a value per clock, with inverses that are off by the relative `error`."""
    dut, inputs, expected = QuotientCode(), [], []
    for top, values in groups.items():
        assert np.abs(values).max() <= top
        expected += [round(127 * Fraction(a) / Fraction(top)) for a in values.tolist()]  # half to even
        steady = {"top": int(encode(top)), "inverse": int(encode(rnd(127 / top * (1 + error))))}
        inputs += [steady | {"a": code} for code in encode(values).tolist()]
    tops = [*[0] * dut.TOP_DELAY, *(each["top"] for each in inputs), *[0] * dut.LATENCY]
    steps = [Step(set=each | {"late_top": tops[n]}, read=["o"] if n >= dut.LATENCY else [])
             for n, each in enumerate([*inputs, *[{"a": 0, "top": 0}] * dut.LATENCY])]
    got = [code for code, in run_steps(dut, steps, outputs=[], simulator=simulator).read]
    assert_equal(got, expected, np.concatenate([encode(values) for values in groups.values()]),
                 np.concatenate([np.full(len(values), encode(top)) for top, values in groups.items()]))


def random_groups():
    rng = np.random.default_rng(SEED + 1)
    return {top: rnd(top * rng.uniform(-1, 1, 60)) for top in random_tops(60)}


def next_to_ties():
    steps = 1 + ULP * np.arange(-1, 2)[:, None]
    ties = (np.arange(127) + 0.5) / 127
    return {top: rnd(top * ties * steps).ravel() for top in random_tops(15)}


def ties():
    """With tops that 127 divides, every code and every tie is a machine float."""
    twice = np.arange(-254, 255)
    return {127.0 * unit: twice / 2 * unit for unit in (1.0, 3 * 2.0**40, 257 * 2.0**-60)}


def small_values():
    falling = 2.0 ** -np.arange(40)
    groups = {top: rnd(top * np.append(falling, 0.0)) for top in random_tops(20)}
    return groups | {2.0**-120: np.array([MIN_FLOAT, 2.0**-120, 0.0]), 2.0**127: np.array([MIN_FLOAT, -(2.0**120)])}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("groups", [random_groups, next_to_ties, ties])
def test_equals_the_exact_quotient(groups, error):
    check(groups(), error)


def test_small_values_and_zero():
    check(small_values())


def test_verilated():
    check(small_values() | next_to_ties() | ties(), ERRORS[1], "verilator")
    check(random_groups(), ERRORS[2], "verilator")


def test_latency():
    assert QuotientCode.LATENCY == 6
