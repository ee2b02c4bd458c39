"""What a bench does with a unit, written down as steps, and the simulators that can do it.

The same steps run in Amaranth's Python simulator (starts at once, slow clocks) and in Verilator through cocotb (seconds
to build, fast clocks, `sim/agents/stream.py` at every stream), there also as the netlist that Yosys makes for an ECP5.
This file holds the steps and the Python simulator; `verilated.py` holds the other.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import reduce
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import data
from amaranth.sim import Simulator

__all__ = ["SILENCE", "SIMULATORS", "Plan", "Run", "Step", "plain", "port_of", "run_steps"]

SILENCE = 40
"""Clocks without a transfer after which a run has ended, when no end stalls; more of them when ends do."""

SIMULATORS = ("pysim", "verilator", "netlist")


@dataclass(frozen=True)
class Step:
    """One step of a bench; ports are named by their path, "read.addr". The next begins when this has ended.

    Attributes:
        set: values of plain inputs, from the first clock on, until a later step sets others.
        send: payloads per input stream, side by side; the step lasts until all were taken.
        until: a plain output; the step lasts until it was high in a clock of the step.
        clocks: how long the step lasts at least.
        read: plain outputs whose values in the last clock of the step are recorded.
    """

    set: Mapping[str, Any] = field(default_factory=dict)
    send: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    until: str = ""
    clocks: int = 1
    read: Sequence[str] = ()


@dataclass(frozen=True)
class Plan:
    """All of a bench: steps, and what it watches meanwhile (the arguments of `run_steps`)."""

    steps: Sequence[Step]
    outputs: Sequence[str]
    pulses: Mapping[str, str]
    stall: float
    seed: int
    silence: int

    @property
    def patience(self) -> int:
        """Clocks in which something must happen."""
        return round(self.silence / (1 - self.stall))

    def inputs(self) -> list[str]:
        """Streams that any step sends into."""
        return list(dict.fromkeys(name for step in self.steps for name in step.send))


@dataclass
class Run:
    """What came out. `received` and `clocks` (numbers of the clocks) have an entry per transfer of every stream and per
    high clock of every pulse; inputs have clocks only. `read` has an entry per step that reads."""

    received: dict[str, list[Any]] = field(default_factory=dict)
    clocks: dict[str, list[int]] = field(default_factory=dict)
    read: list[list[Any]] = field(default_factory=list)


def plain(value: Any) -> Any:
    """A payload constant as a dictionary of its fields, a list of its elements, or an integer."""
    if not hasattr(value, "shape"):
        return value.value if isinstance(value, Enum) else int(value)
    fields = {name: plain(value[name]) for name, _ in value.shape()}
    return list(fields.values()) if isinstance(value.shape(), data.ArrayLayout) else fields


def port_of(dut: Any, path: str) -> Any:
    """The port of a component that a path names."""
    return reduce(getattr, path.split("."), dut)


def run_steps(
    dut: Any, steps: Sequence[Step], *, outputs: Sequence[str] = ("o",), pulses: Mapping[str, str] | None = None,
    stall: float = 0.0, seed: int = 0, silence: int = SILENCE, simulator: str = "pysim",
) -> Run:
    """Play the steps, then go on until nothing moves any more.

    Args:
        dut: the component under test.
        steps: what to do, one after the other.
        outputs: streams that are taken from all the time.
        pulses: plain outputs that say, while high, that another one holds a value; "" for none. No transfers: they
            keep no run alive.
        stall: probability that an end of a stream waits in a clock, 0 to 1.
        seed: of the stalls.
        silence: clocks without a transfer, when no end stalls, after which the run has ended or failed.
        simulator: one of SIMULATORS.

    Raises:
        AssertionError: a step did not end, or a stream broke a rule.
    """
    plan = Plan(steps, outputs, pulses or {}, stall, seed, silence)
    if simulator != "pysim":
        from tests.hw.verilated import run_plan
        return run_plan(dut, plan, netlist=simulator == "netlist")
    return _run_in_python(dut, plan)


def _run_in_python(dut: Any, plan: Plan) -> Run:
    top = Module()
    top.submodules.dut = dut
    run = Run()
    waiting: dict[str, deque[Any]] = {name: deque() for name in plan.inputs()}
    clock, last_event = [0], [0]

    def note(name: str, value: Any = None) -> None:
        run.clocks[name].append(clock[0])
        if name not in plan.pulses:
            last_event[0] = clock[0]
        if value is not None:
            run.received[name].append(plain(value))

    async def number(ctx: Any) -> None:
        while True:
            await ctx.tick()
            clock[0] += 1

    async def play(ctx: Any) -> None:
        for n, step in enumerate(plan.steps):
            for name, value in step.set.items():
                ctx.set(port_of(dut, name), value)
            for name, payloads in step.send.items():
                waiting[name].extend(payloads)
            sampled = [port_of(dut, name) for name in (*step.read, *([step.until] if step.until else []))]
            seen, left = not step.until, step.clocks
            last_event[0] = clock[0]
            values: Sequence[Any] = ()
            while not seen or left > 0 or any(waiting[name] for name in step.send):
                _, _, *values = await ctx.tick().sample(*sampled)
                left, seen = left - 1, seen or bool(values[-1])
                idle = clock[0] - last_event[0] - max(0, step.clocks)
                assert idle < plan.patience, f"step {n} did not end: {_what_is_left(step, waiting, seen)}"
            if step.read:
                run.read.append([plain(value) for value in values[: len(step.read)]])
        last_event[0] = clock[0]
        while clock[0] - last_event[0] < plan.patience:
            await ctx.tick()

    def feeder(name: str):
        choose, port = random.Random(f"{plan.seed} {name}"), port_of(dut, name)

        async def feed(ctx: Any) -> None:
            while True:
                while not waiting[name] or choose.random() < plan.stall:
                    await ctx.tick()
                ctx.set(port.payload, waiting[name][0])
                ctx.set(port.valid, 1)
                taken = 0
                while not taken:
                    _, _, taken = await ctx.tick().sample(port.ready)
                note(name)
                waiting[name].popleft()
                ctx.set(port.valid, 0)
        return feed

    def taker(name: str):
        choose, port = random.Random(f"{plan.seed} {name}"), port_of(dut, name)

        async def take(ctx: Any) -> None:
            while True:
                ctx.set(port.ready, choose.random() >= plan.stall)
                _, _, valid, ready, value = await ctx.tick().sample(port.valid, port.ready, port.payload)
                if valid and ready:
                    note(name, value)
        return take

    def watcher(name: str, of: str):
        async def watch(ctx: Any) -> None:
            while True:
                _, _, high, value = await ctx.tick().sample(port_of(dut, name), port_of(dut, of or name))
                if high:
                    note(name, value)
        return watch

    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(number, background=True)
    simulator.add_testbench(play)  # before the feeders: what it gives them moves in the same clock
    for name in waiting:
        run.clocks[name] = []
        simulator.add_testbench(feeder(name), background=True)
    for name in (*plan.outputs, *plan.pulses):
        run.received[name], run.clocks[name] = [], []
        task = watcher(name, plan.pulses[name]) if name in plan.pulses else taker(name)
        simulator.add_testbench(task, background=True)
    simulator.run()
    return run


def _what_is_left(step: Step, waiting: Mapping[str, Sequence[Any]], seen: bool) -> str:
    left = [f"{name}: {len(waiting[name])} of {len(payloads)} payloads were not taken"
            for name, payloads in step.send.items() if waiting[name]]
    return "; ".join(left + ([] if seen else [f"{step.until} was never high"]))
