"""A bench with a context runs in Verilator as it does in Amaranth's simulator, and its failures come through."""

from __future__ import annotations

from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import PRESETS
from sim.bench import BenchError, run_bench
from tests.hw.simulator import Simulator, run_in_verilator


class Colour(enum.Enum, shape=2):
    """Something that is no number."""

    RED = 0
    GREEN = 1


PAIR = data.StructLayout({"low": data.ArrayLayout(4, 2), "high": data.ArrayLayout(8, 2), "colour": Colour})


class Counter(wiring.Component):
    """Counts clocks, and delays a pair by one."""

    def __init__(self) -> None:
        super().__init__({"step": In(4, init=3), "count": Out(16), "i": In(PAIR), "o": Out(PAIR)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += [self.count.eq(self.count + self.step), self.o.eq(self.i)]
        return m


def simulate(bench: Any, other: Any = None) -> None:
    dut = Counter()

    async def first(ctx: Any) -> None:
        await bench(ctx, dut)

    async def second(ctx: Any) -> None:
        await other(ctx, dut)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(first)
    if other:
        simulator.add_testbench(second, background=True)
    simulator.run()


async def use_everything(ctx: Any, dut: Counter) -> None:
    assert ctx.get(dut.count) == 0
    await ctx.tick()
    assert ctx.get(dut.count) == 3
    _, _, before, step = await ctx.tick().sample(dut.count, dut.step)
    assert (before, step) == (3, 3)
    ctx.set(dut.step, 1)
    await ctx.tick().repeat(4)
    assert ctx.get(dut.count) == 10
    ctx.set(dut.i, {"low": [1, 2], "high": [3, 4], "colour": Colour.GREEN})
    ctx.set(dut.i.high[1], 200)
    await ctx.tick()
    assert [int(n) for n in ctx.get(dut.o).high] == [3, 200]
    assert ctx.get(dut.o.low[1]) == 2
    assert ctx.get(dut.o.colour) is Colour.GREEN
    (value,) = await ctx.tick().sample(dut.o).until(dut.o.low[0])
    assert value.colour is Colour.GREEN


def in_verilator() -> None:
    """Each simulation starts with a reset."""
    simulate(use_everything)
    simulate(use_everything)


async def wait(ctx: Any, dut: Counter) -> None:
    await ctx.tick().repeat(50)


async def fail(ctx: Any, dut: Counter) -> None:
    await ctx.tick().repeat(5)
    assert ctx.get(dut.count) == 16, "wrong count"


def fails_in_front() -> None:
    simulate(fail)


def fails_in_the_background() -> None:
    simulate(wait, fail)


def test_python() -> None:
    in_verilator()


def test_verilated() -> None:
    run_in_verilator(Counter(), in_verilator)


@pytest.mark.parametrize("function", [fails_in_front, fails_in_the_background])
def test_failures(function: Any) -> None:
    with pytest.raises(BenchError, match="wrong count"):
        run_in_verilator(Counter(), function)


def test_a_bench_that_cannot_be_imported() -> None:
    with pytest.raises(BenchError, match=r"No module named 'tests.no_such_bench'\nthe simulator ended without"):
        run_bench(Counter(), PRESETS["tiny"], "tests.no_such_bench")
