"""GatedRelu2 equals the golden gated_relu2, bit for bit, on the gate that the scratchpad holds."""

import numpy as np
import pytest

from hw.feedforward.gated_relu2 import GatedRelu2
from sim.golden.feedforward import gated_relu2
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, decode, encode, rnd
from tests.hw.float.vectors import ULP, pairs
from tests.hw.vectors import CONFIGS, check, stored, words

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


def compare(config, gate, up, base, stall=0.0, seed=0) -> None:
    dut = GatedRelu2(config)
    store = stored(config, gate, base)

    async def prepare(ctx, bench):
        ctx.set(dut.base, base)
        await store(ctx, bench)

    check(dut, words(config, encode(up), "values"), gated_relu2(gate, up), prepare, stall, seed)


@pytest.mark.parametrize("name", CASES)
def test_named(name):
    config = CONFIGS["pair"]
    gate, up = (np.full((config.columns, 4), value) for value in CASES[name])
    compare(config, gate, up, base=5)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0.0, 0.3, 0.7])
def test_random(name, stall):
    """A whole FFN vector per column at the end of the column; half of the codes near 1, half from the whole range."""
    config, rng = CONFIGS[name], np.random.default_rng(8)
    shape = (config.columns, 64)
    gate, up = (decode(rng.permutation(codes)[: config.columns * 64].reshape(shape))
                for codes in pairs(seed=10, count=400))
    near = rng.random(shape) < 0.5
    gate, up = (np.where(near, rnd(rng.normal(size=shape)), value) for value in (gate, up))
    compare(config, gate, up, config.column_words - 64 // config.vector, stall, seed=2)
