"""GatedRelu2 equals the golden gated_relu2, bit for bit, on the gate that the scratchpad holds."""

import numpy as np
import pytest

from hw.feedforward.gated_relu2 import GatedRelu2
from sim.bench import run_bench
from sim.golden.feedforward import gated_relu2
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, decode, encode, rnd
from tests.hw.float.vectors import ULP, pairs
from tests.hw.steps import Step
from tests.hw.vectors import CONFIGS, check, stored, words
from tests.hw.with_memories import WithMemories

CASES = {
    "zero_gate": (0.0, -3.0),
    "zero_up": (3.0, 0.0),
    "negative_gate": (-3.0, -3.0),
    "negative_gate_that_would_overflow": (-MAX_FLOAT, MAX_FLOAT),
    "ones": (1.0, 1.0),
    "two_roundings": (1 + 3 * ULP, 1 + 5 * ULP),
    "square_underflows": (2.0**-64, MAX_FLOAT),
    "product_underflows": (2.0**-30, -2.0**-67),
    "least_gate": (MIN_FLOAT, MAX_FLOAT),
    "square_saturates": (MAX_FLOAT, 2.0**-100),
    "product_saturates": (2.0**63, -2.0**10),
}


def compare(config, vectors, stall=0.0, seed=0, simulator="pysim") -> None:
    """Triples of gate and up, a row per column, and the scratchpad word of the gate."""
    parts = [([Step(set={"base": base}), *stored(config, gate, base)], words(config, encode(up), "values"),
              gated_relu2(gate, up)) for gate, up, base in vectors]
    check(GatedRelu2(config), parts, stall, seed, simulator)


def named(config, name):
    return [*(np.full((config.columns, 4), value) for value in CASES[name]), 5]


def random_vectors(config):
    """A whole FFN vector per column at the end of the column; half of the codes near 1, half from the whole range."""
    rng = np.random.default_rng(8)
    shape = (config.columns, 64)
    gate, up = (decode(rng.permutation(codes)[: config.columns * 64].reshape(shape))
                for codes in pairs(seed=10, count=400))
    near = rng.random(shape) < 0.5
    gate, up = (np.where(near, rnd(rng.normal(size=shape)), value) for value in (gate, up))
    return gate, up, config.column_words - 64 // config.vector


@pytest.mark.parametrize("name", CASES)
def test_named(name):
    compare(CONFIGS["pair"], [named(CONFIGS["pair"], name)])


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0.0, 0.3, 0.7])
def test_random(name, stall):
    compare(CONFIGS[name], [random_vectors(CONFIGS[name])], stall, seed=2)


def test_verilated():
    config = CONFIGS["pair"]
    vectors = [*(named(config, name) for name in CASES), random_vectors(config)]
    for stall in (0.0, 0.4):
        compare(config, vectors, stall, 2, "verilator")


@pytest.mark.parametrize("name", ["scalar", "quad"])
def test_bench(name):
    """In cocotb, with agents that stall at both ends; the cases are in `gated_relu2_bench.py`."""
    config = CONFIGS[name]
    run_bench(WithMemories(GatedRelu2(config)), config, "tests.hw.feedforward.gated_relu2_bench")
