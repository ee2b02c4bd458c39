"""Residual equals the golden residual, bit for bit, on what the scratchpad holds."""

import numpy as np
import pytest

from hw.norm.residual import Residual
from sim.golden.norm import residual
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, decode, encode
from tests.hw.float.vectors import ULP, pairs
from tests.hw.vectors import CONFIGS, check, stored, words

CASES = {
    "zeros": (0.0, 0.0),
    "zero_stream": (0.0, -1.5),
    "zero_out": (-1.5, 0.0),
    "cancellation_to_zero": (1.5, -1.5),
    "underflow_to_zero": (MIN_FLOAT, -MIN_FLOAT * (1 + ULP)),
    "tie_to_even": (1 + ULP, ULP / 2),
    "overflow_saturates": (MAX_FLOAT, MAX_FLOAT),
    "negative_overflow_saturates": (-MAX_FLOAT, -MAX_FLOAT),
}


def compare(config, vectors, stall=0.0, seed=0, simulator="pysim") -> None:
    """Pairs of residual stream and output, a row per column each."""
    parts = [(stored(config, h), words(config, encode(out), "values"), residual(h, out)) for h, out in vectors]
    check(Residual(config), parts, stall, seed, simulator)


def named(config, name):
    return [np.full((config.columns, 4), value) for value in CASES[name]]


def random_streams(config):
    """Whole residual streams, of codes that cancel, vanish and overflow."""
    return [decode(np.random.default_rng(4).permutation(codes)[: config.columns * 32].reshape(-1, 32))
            for codes in pairs(seed=9, count=200)]


@pytest.mark.parametrize("name", CASES)
def test_named(name):
    compare(CONFIGS["pair"], [named(CONFIGS["pair"], name)])


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0.0, 0.3, 0.7])
def test_random(name, stall):
    compare(CONFIGS[name], [random_streams(CONFIGS[name])], stall, seed=3)


def test_verilated():
    config = CONFIGS["pair"]
    vectors = [*(named(config, name) for name in CASES), random_streams(config)]
    for stall in (0.0, 0.4):
        compare(config, vectors, stall, 3, "verilator")
