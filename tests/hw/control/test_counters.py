"""Counters: each counts its own clocks, all are cleared together."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.sim import Simulator

from hw.control.counters import Counters
from hw.control.register_map import find

NAMES = Counters.NAMES


def run(bench: Any, dut: Counters) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def values(ctx: Any, dut: Counters) -> dict[str, int]:
    return {name: ctx.get(getattr(dut, name)) for name in NAMES}


def test_names_are_registers() -> None:
    for name in NAMES:
        assert find("CYCLES_LO" if name == "cycles" else name.upper()).fields[0].port == name


@pytest.mark.parametrize("seed", [1, 2])
def test_random_enables_against_a_model(seed: int) -> None:
    """`clear` wins over a count in the same clock."""
    dut, choose = Counters(), random.Random(seed)
    assert {name: len(getattr(dut, name)) for name in NAMES} == {name: 64 if name == "cycles" else 32 for name in NAMES}

    async def bench(ctx: Any) -> None:
        expected = dict.fromkeys(NAMES, 0)
        for clock in range(600):
            enabled = {name: choose.random() < 0.5 for name in NAMES}
            clear = clock != 0 and choose.random() < 0.01
            for name in NAMES:
                ctx.set(getattr(dut, f"{name}_en"), enabled[name])
            ctx.set(dut.clear, clear)
            await ctx.tick()
            expected = {name: 0 if clear else expected[name] + enabled[name] for name in NAMES}
            assert values(ctx, dut) == expected

    run(bench, dut)


@pytest.mark.parametrize("name", NAMES)
def test_one_counter_leaves_the_others_alone(name: str) -> None:
    dut = Counters()

    async def bench(ctx: Any) -> None:
        ctx.set(getattr(dut, f"{name}_en"), 1)
        await ctx.tick().repeat(5)
        assert values(ctx, dut) == dict.fromkeys(NAMES, 0) | {name: 5}
        ctx.set(getattr(dut, f"{name}_en"), 0)
        await ctx.tick().repeat(5)
        assert values(ctx, dut) == dict.fromkeys(NAMES, 0) | {name: 5}

    run(bench, dut)
