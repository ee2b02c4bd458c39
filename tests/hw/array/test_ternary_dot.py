# amaranth: UnusedElaboratable=no
"""The dot product against plain integers, at its stated latency."""

import numpy as np
import pytest

from hw.array.ternary_dot import TernaryDot
from tests.hw.steps import Step, run_steps


def named_cases(inputs):
    """Activations and trits of each clock: the four corners, zeros, then random ones."""
    random = np.random.default_rng(inputs)
    corners = [(np.full(inputs, a), np.full(inputs, w)) for a in (-128, -127, 127) for w in (-1, 0, 1)]
    return corners + [(random.integers(-128, 128, inputs), random.integers(-1, 2, inputs)) for _ in range(50)]


def codes(trits):
    """Trits as the decoder gives them: the sign bit of a zero may be either."""
    return [{"nonzero": int(t != 0), "negate": int(t < 0) if t else n & 1} for n, t in enumerate(trits.tolist())]


def check(inputs, simulator="pysim"):
    dut, cases = TernaryDot(inputs), named_cases(inputs)
    steps = [Step(read=["o"]) for _ in range(len(cases) + dut.latency)]
    for n, (activations, trits) in enumerate(cases):
        steps[n].set.update(i_activations=activations.tolist(), i_weights=codes(trits))
        steps[n + dut.latency - 1].set["i_negatives"] = int((trits < 0).sum())
    run = run_steps(dut, [*steps, Step(read=["o"])], outputs=[], simulator=simulator)
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
