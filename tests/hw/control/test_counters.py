# amaranth: UnusedElaboratable=no
"""Counters: each counts its own clocks, all are cleared together."""

from __future__ import annotations

import random

import pytest

from hw.contract.register_map import find
from hw.control.counters import Counters
from tests.hw.steps import Step, run_steps

NAMES = Counters.NAMES


def check(clocks: list[dict[str, int]], simulator: str = "pysim") -> None:
    """The counts in every clock, of a model that counts too; each clock sets some inputs, the others stay."""
    state = dict.fromkeys(("clear", *(f"{name}_en" for name in NAMES)), 0)
    expected, counts = [], dict.fromkeys(NAMES, 0)
    for inputs in clocks:
        state |= inputs
        expected.append(list(counts.values()))
        counts = {name: 0 if state["clear"] else count + state[f"{name}_en"] for name, count in counts.items()}
    steps = [Step(set=inputs, read=NAMES) for inputs in clocks]
    assert run_steps(Counters(), steps, outputs=[], simulator=simulator).read == expected


def random_clocks(seed: int) -> list[dict[str, int]]:
    """`clear` wins over a count in the same clock."""
    choose = random.Random(seed)
    return [{f"{name}_en": int(choose.random() < 0.5) for name in NAMES} | {"clear": int(choose.random() < 0.01)}
            for _ in range(600)]


def only(name: str) -> list[dict[str, int]]:
    """One counter counts for five clocks, after a clear."""
    start = dict.fromkeys((f"{other}_en" for other in NAMES), 0) | {"clear": 1}
    return [start, {"clear": 0, f"{name}_en": 1}, *[{}] * 4, {f"{name}_en": 0}, *[{}] * 5]


def test_names_are_registers() -> None:
    for name in NAMES:
        assert find("CYCLES_LO" if name == "cycles" else name.upper()).fields[0].port == name


def test_widths() -> None:
    dut = Counters()
    assert {name: len(getattr(dut, name)) for name in NAMES} == {name: 64 if name == "cycles" else 32 for name in NAMES}


@pytest.mark.parametrize("seed", [1, 2])
def test_random_enables_against_a_model(seed: int) -> None:
    check(random_clocks(seed))


@pytest.mark.parametrize("name", NAMES)
def test_one_counter_leaves_the_others_alone(name: str) -> None:
    check(only(name))


def test_verilated() -> None:
    check([clock for name in NAMES for clock in only(name)] + random_clocks(1), "verilator")
