# amaranth: UnusedElaboratable=no
"""The dot product against plain integers, at its stated latency."""

import numpy as np
import pytest

from hw.array.ternary_dot import TernaryDot
from hw.contract.payloads import Trit
from tests.hw.steps import Step, run_steps

CODES = {0: Trit.ZERO, 1: Trit.PLUS, -1: Trit.MINUS}


def named_cases(inputs):
    """Activations and trits of each clock: the four corners, zeros, then random ones."""
    random = np.random.default_rng(inputs)
    corners = [(np.full(inputs, a), np.full(inputs, w)) for a in (-128, -127, 127) for w in (-1, 0, 1)]
    return corners + [(random.integers(-128, 128, inputs), random.integers(-1, 2, inputs)) for _ in range(50)]


def check(inputs, simulator="pysim"):
    dut, cases = TernaryDot(inputs), named_cases(inputs)
    steps = [
        Step(set={"i_activations": activations.tolist(), "i_weights": [CODES[t] for t in trits.tolist()]}, read=["o"])
        for activations, trits in cases
    ]
    run = run_steps(dut, steps + [Step(read=["o"])] * dut.latency, outputs=[], simulator=simulator)
    for n, (activations, trits) in enumerate(cases):
        assert run.read[n + dut.latency] == [int(activations @ trits)], f"case {n}"


@pytest.mark.parametrize("inputs", [1, 2, 3, 10, 20, 33])
def test_one_exact_sum_per_clock(inputs):
    check(inputs)


def test_verilated():
    check(20, "verilator")


def test_empty_dot_is_refused():
    with pytest.raises(ValueError, match="inputs must be at least 1, not 0"):
        TernaryDot(0)
