# amaranth: UnusedElaboratable=no
"""Counters: each counts its own clocks, all are cleared together."""

from __future__ import annotations

import random

import pytest

from hw.contract.register_map import COUNTER_BITS, COUNTERS, values
from hw.control.counters import Counters
from tests.hw.steps import Step, run_steps

NAMES = tuple(COUNTERS)


Clock = tuple[frozenset[str], bool]
"""A clock: which counters count, and `clear`."""


def check(clocks: list[Clock], simulator: str = "pysim") -> None:
    """The counts in every clock, of a model that counts too."""
    expected, counts, steps = [], dict.fromkeys(NAMES, 0), []
    for counting, clear in clocks:
        expected.append(list(counts.values()))
        counts = {name: 0 if clear else count + (name in counting) for name, count in counts.items()}
        enable = {name: int(name in counting) for name in NAMES}
        steps.append(Step(set={"clear": int(clear), "enable": enable}, read=[f"count.{name}" for name in NAMES]))
    assert run_steps(Counters(), steps, outputs=[], simulator=simulator).read == expected


def random_clocks(seed: int) -> list[Clock]:
    """`clear` wins over a count in the same clock."""
    choose = random.Random(seed)
    return [(frozenset(name for name in NAMES if choose.random() < 0.5), choose.random() < 0.01) for _ in range(600)]


def only(name: str) -> list[Clock]:
    """One counter counts for five clocks, after a clear."""
    return [(frozenset(), True), *[(frozenset({name}), False)] * 5, *[(frozenset(), False)] * 6]


def test_names_are_registers() -> None:
    assert {name: bits for name, bits in values("r").items() if name in NAMES} == dict.fromkeys(NAMES, COUNTER_BITS)


def test_widths() -> None:
    dut = Counters()
    assert {len(getattr(dut.count, name)) for name in NAMES} == {COUNTER_BITS} == {48}


@pytest.mark.parametrize("seed", [1, 2])
def test_random_enables_against_a_model(seed: int) -> None:
    check(random_clocks(seed))


@pytest.mark.parametrize("name", NAMES)
def test_one_counter_leaves_the_others_alone(name: str) -> None:
    check(only(name))


def test_verilated() -> None:
    check([clock for name in NAMES for clock in only(name)] + random_clocks(1), "verilator")
