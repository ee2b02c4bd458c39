"""FloatDivide equals rnd(a / b), also when an operation is abandoned for the next."""

import numpy as np
import pytest

from hw.float.divide import FloatDivide
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, decode, encode, rnd
from tests.hw.float.vectors import ULP, assert_equal, random_pairs, serial, special_pairs
from tests.hw.steps import Step, run_steps

CASES = {
    "zero_by_zero": (0.0, 0.0, 0.0),
    "positive_by_zero": (1.0, 0.0, MAX_FLOAT),
    "negative_by_zero": (-MIN_FLOAT, 0.0, -MAX_FLOAT),
    "zero_by_negative_is_plus_zero": (0.0, -3.0, 0.0),
    "exact": (-6.0, 3.0, -2.0),
    "third": (1.0, 3.0, 87381 * ULP / 4),
    "overflow_saturates": (MAX_FLOAT, -0.5, -MAX_FLOAT),
    "underflow_is_plus_zero": (-MIN_FLOAT, 2.0, 0.0),
    "just_below_min_is_plus_zero": (MIN_FLOAT, 1 + ULP, 0.0),
    "after_one": (1 + ULP, 1 - ULP / 2, 1 + 2 * ULP),
}


def test_latency():
    assert FloatDivide.LATENCY == 21


def test_equals_golden():
    special, rand = special_pairs(), random_pairs(seed=4, count=2500)
    a, b = np.concatenate([special[0], rand[0]]), np.concatenate([special[1], rand[1]])
    x, y = decode(a), decode(b)
    by_zero = np.sign(x) * MAX_FLOAT
    expected = encode(rnd(np.where(y == 0, by_zero, x / np.where(y == 0, 1, y))))
    assert_equal(serial(FloatDivide(), "verilator", a=a, b=b), expected, a, b)


@pytest.mark.parametrize("name", CASES)
def test_named(name):
    a, b, expected = encode(CASES[name]).tolist()
    assert serial(FloatDivide(), a=[a], b=[b])[0] == expected


def test_restart_and_hold():
    six, three, two, one = encode([6.0, 3.0, 2.0, 1.0]).tolist()
    steps = [
        Step(set={"a": one, "b": three, "start": 1}), Step(set={"start": 0}, clocks=10),
        Step(set={"a": six, "start": 1}), Step(set={"start": 0}, clocks=78, read=["o"]),
    ]
    run = run_steps(FloatDivide(), steps, outputs=[], pulses={"start": "", "done": ""})
    assert run.clocks["done"] == [run.clocks["start"][1] + FloatDivide.LATENCY]
    assert run.read == [[two]]
