"""A register slice changes nothing but the clock in which a payload comes."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import unsigned

from hw.register_slice import RegisterSlice
from tests.hw.simulation import SIMULATORS
from tests.hw.steps import Step, run_steps

WORDS = [random.Random(4).getrandbits(9) for _ in range(400)]


@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize("stall", [0.0, 0.3, 0.8])
def test_order_and_content(stall: float, simulator: str) -> None:
    run = run_steps(RegisterSlice(unsigned(9)), [Step(send={"i": WORDS})], stall=stall, seed=2, simulator=simulator)
    assert run.received["o"] == WORDS


def test_a_payload_per_clock_one_clock_later() -> None:
    run = run_steps(RegisterSlice(unsigned(9)), [Step(send={"i": WORDS})])
    assert run.clocks["i"] == list(range(run.clocks["i"][0], run.clocks["i"][0] + len(WORDS)))
    assert run.clocks["o"] == [clock + 1 for clock in run.clocks["i"]]
