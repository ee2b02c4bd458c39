"""Argmax equals the golden argmax in every column; ties go to the lowest row, and padding does not count."""

import itertools

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hw.contract.config import preset
from hw.logits.argmax import Argmax
from hw.logits.interfaces import best_row
from sim.golden.logits import argmax
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, decode, encode, rnd
from tests.hw.steps import Step, run_steps

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


class Bench(wiring.Component):
    """The unit with the best rows as a pulse."""

    def __init__(self, config):
        self.config, self.unit = config, Argmax(config)
        members = dict(self.unit.signature.members)
        super().__init__({"i": members["i"], "best": Out(best_row(config)), "valid": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        wiring.connect(m, wiring.flipped(self.i), unit.i)
        m.d.comb += [self.best.eq(unit.o.payload), self.valid.eq(unit.o.valid)]
        return m


def words(columns, padding):
    """Row by row, of each row column by column, then rows of padding with larger logits than all."""
    codes = encode(np.asarray(columns, dtype=float)).T
    sent = [{"column": n, "row": row, "logit": code, "padding": 0, "last": not padding and row == len(codes) - 1}
            for row, one in enumerate(codes.tolist()) for n, code in enumerate(one)]
    return sent + [{"column": n, "row": len(codes) + row, "logit": int(encode(MAX_FLOAT)), "padding": 1,
                    "last": row == padding - 1} for row in range(padding) for n in range(len(columns))]


def expected(columns):
    rows = [argmax(np.asarray(logits)) for logits in columns]
    return [{"column": n, "row": row, "logit": int(encode(logits[row]))}
            for n, (logits, row) in enumerate(zip(columns, rows, strict=True))]


def run(commands, padding=0, config=CONFIG, **options):
    """The logits of the columns of some commands; returns the clocks."""
    sent = [word for columns in commands for word in words(columns, padding)]
    played = run_steps(Bench(config), [Step(send={"i": sent})], outputs=(), pulses={"valid": "best"}, **options)
    assert played.received["valid"] == [best for columns in commands for best in expected(columns)]
    return played.clocks


PAIRS = [(list(a), list(b)) for a, b in itertools.permutations(CASES.values(), 2) if len(a) == len(b)]
"""Logits of two columns."""


@pytest.mark.parametrize("name", CASES)
def test_named(name):
    for padding in (0, 3):
        run([[CASES[name]]], padding)


def test_columns_do_not_meet():
    run(PAIRS, padding=1)


def test_cycles():
    """Forty rows of two columns in eighty clocks, the result of each column one clock after its last logit."""
    log = run([[[float(n) for n in range(30)]] * 2, [[7.0] * 10] * 2])
    assert log["i"] == list(range(log["i"][0], log["i"][0] + 80))
    assert log["valid"] == [log["i"][n] + 1 for n in (58, 59, 78, 79)]


def random_commands(seed, most_columns=2):
    random = np.random.default_rng(seed)
    for _ in range(20):
        shape = (int(random.integers(1, most_columns + 1)), int(random.integers(1, 30)))
        codes = encode(rnd(random.normal(size=shape[1])))
        yield decode(random.choice(codes, shape))  # with repetitions: ties


@pytest.mark.parametrize("seed", range(6))
def test_random_with_stalls(seed):
    run(list(random_commands(seed)), padding=seed % 2, stall=(0.0, 0.3, 0.7)[seed % 3], seed=seed)


def test_most_columns():
    config = CONFIG.replace(columns=5, query_rows=8)
    run(list(random_commands(8, most_columns=5)), padding=2, config=config, stall=0.3)


def test_verilated():
    for stall in (0.0, 0.4):
        run([*([case] for case in CASES.values()), *PAIRS, *random_commands(1)], padding=1, stall=stall,
            simulator="verilator")
