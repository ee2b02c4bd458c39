"""Argmax equals the golden argmax; ties go to the lowest row."""

import numpy as np
import pytest

from hw.contract.config import preset
from hw.logits.argmax import Argmax
from sim.golden.logits import argmax
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, decode, encode, rnd
from tests.hw.steps import run_stream

CONFIG = preset("tiny")

CASES = {
    "one_row": [3.0],
    "one_negative_row": [-3.0],
    "first": [5.0, 4.0, 3.0],
    "last": [3.0, 4.0, 5.0],
    "all_equal": [1.5] * 5,
    "all_zero": [0.0] * 4,
    "tie_behind_a_smaller_one": [1.0, 2.0, 2.0, 1.0],
    "all_negative": [-3.0, -MIN_FLOAT, -2.0],
    "zero_between_signs": [-1.0, 0.0, -MIN_FLOAT],
    "limits": [-MAX_FLOAT, MAX_FLOAT, MAX_FLOAT],
}


def words(logits):
    codes = encode(logits).tolist()
    return [{"row": n, "logit": code, "last": n == len(codes) - 1} for n, code in enumerate(codes)]


def expected(logits):
    row = argmax(np.asarray(logits))
    return {"row": row, "logit": int(encode(logits[row]))}


def run(commands, **options):
    """The logits of some commands; returns the clocks."""
    sent = [word for logits in commands for word in words(logits)]
    received, log = run_stream(Argmax(CONFIG), {"i": sent}, **options)
    assert received == [expected(logits) for logits in commands]
    return log


@pytest.mark.parametrize("name", CASES)
def test_named(name):
    run([CASES[name]])


def test_cycles():
    """Forty logits in forty clocks, the result of each command one clock after its last."""
    log = run([[float(n) for n in range(30)], [7.0] * 10])
    assert log["i"] == list(range(log["i"][0], log["i"][0] + 40))
    assert log["o"] == [log["i"][29] + 1, log["i"][39] + 1]


def random_commands(seed):
    random = np.random.default_rng(seed)
    for _ in range(20):
        codes = encode(rnd(random.normal(size=random.integers(1, 30))))
        yield decode(random.choice(codes, len(codes)))  # with repetitions: ties


@pytest.mark.parametrize("seed", range(6))
def test_random_with_stalls(seed):
    run(list(random_commands(seed)), stall=(0.0, 0.3, 0.7)[seed % 3], seed=seed)


def test_verilated():
    for stall in (0.0, 0.4):
        run([*CASES.values(), *random_commands(1)], stall=stall, simulator="verilator")
