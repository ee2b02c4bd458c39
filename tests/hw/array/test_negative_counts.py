# amaranth: UnusedElaboratable=no
"""The counts of negative trits, whatever the sign bit of a zero is, at their stated latency."""

import numpy as np
import pytest

from hw.array.negative_counts import NegativeCounts
from hw.array.ternary_dot import TernaryDot
from hw.contract.config import preset
from tests.hw.array.test_ternary_dot import codes
from tests.hw.steps import Step, run_steps


@pytest.mark.parametrize("name", ["tiny", "kv260"])
def test_counts(name):
    config = preset(name)
    dut = NegativeCounts(config)
    random = np.random.default_rng(1)
    shape = (config.rows, config.inputs)
    beats = [np.full(shape, w) for w in (-1, 0, 1)] + [random.integers(-1, 2, shape) for _ in range(20)]
    steps = [Step(set={"i_weights": [codes(row) for row in beat]}, read=["o"]) for beat in beats]
    run = run_steps(dut, steps + [Step(read=["o"])] * dut.latency, outputs=[])
    for n, beat in enumerate(beats):
        assert run.read[n + dut.latency][0] == (beat < 0).sum(axis=1).tolist(), f"beat {n}"


@pytest.mark.parametrize("inputs", [5, 10, 20, 40])
def test_latency_is_that_of_the_terms(inputs):
    """A dot product wants the count a clock before its sum leaves."""
    config = preset("tiny").replace(rows=40 // inputs, inputs=inputs, vector=1)
    assert NegativeCounts(config).latency == TernaryDot(inputs).latency - 1
