# amaranth: UnusedElaboratable=no
"""The dot product against plain integers, at its stated latency."""

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from hw.array.ternary_dot import TernaryDot
from hw.formats import Trit

CODES = {0: Trit.ZERO, 1: Trit.PLUS, -1: Trit.MINUS}


def named_cases(inputs):
    """Activations and trits of each clock: the four corners, zeros, then random ones."""
    random = np.random.default_rng(inputs)
    corners = [(np.full(inputs, a), np.full(inputs, w)) for a in (-128, -127, 127) for w in (-1, 0, 1)]
    return corners + [(random.integers(-128, 128, inputs), random.integers(-1, 2, inputs)) for _ in range(50)]


@pytest.mark.parametrize("inputs", [1, 2, 3, 10, 20, 33])
def test_one_exact_sum_per_clock(inputs):
    dut = TernaryDot(inputs)
    top = Module()
    top.submodules.dut = dut
    cases = named_cases(inputs)

    async def drive(ctx):
        for activations, trits in cases:
            ctx.set(dut.i_activations, activations.tolist())
            ctx.set(dut.i_weights, [CODES[t] for t in trits.tolist()])
            await ctx.tick()

    async def check(ctx):
        await ctx.tick().repeat(dut.latency)
        for n, (activations, trits) in enumerate(cases):
            assert ctx.get(dut.o) == int(activations @ trits), f"case {n}"
            await ctx.tick()

    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.add_testbench(check)
    simulator.run()


def test_empty_dot_is_refused():
    with pytest.raises(ValueError, match="inputs must be at least 1, not 0"):
        TernaryDot(0)
