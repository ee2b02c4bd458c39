"""Testbenches of a unit, in Amaranth's simulator or in Verilator: `simulate` is what starts every unit.

A testbench is an async function with a context, as Amaranth documents it; it need not know in which simulator it is.
In Verilator of the context there are `set`, `get` and `tick()` with `sample`, `until` and `repeat`, of ports and parts
of ports. Both simulators run in this process.
"""

from __future__ import annotations

import contextlib
import linecache
import os
import random
import secrets
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from amaranth.hdl import Module, Value
from amaranth.sim import Simulator

from sim.bench_process import WAVES
from sim.verilated import Verilated
from tests.hw.context import Context, Place

__all__ = ["SIMULATORS", "Bench", "Hung", "send", "simulate"]

SIMULATORS = ("pysim", "verilator", "netlist")
"""Amaranth's simulator, Verilator, and Verilator with what Yosys makes of the unit for an ECP5."""

CLOCKS, SECONDS = 100_000, 120
"""Bounds of a simulation; what ends a unit that hangs is the clocks, as a rule."""

CLOCKS_BETWEEN_LOOKS = 1024
"""At the time."""

RESET_CLOCKS = 2
PERIOD_S = 1e-6
Bench = Callable[[Any], Coroutine[Any, Any, None]]


class Hung(AssertionError):
    """A simulation did not end within its bounds; the text says what its testbenches wait for."""


def simulate(
    dut: Any, *benches: Bench, background: Sequence[Bench] = (), simulator: str = "pysim", clocks: int = CLOCKS,
    seconds: float = SECONDS, explain: Callable[[], str] | None = None,
) -> None:
    """Run testbenches until all have ended but those in the background.

    Those that wait for a clock go on in this order, with the effect of the edge; each sees at once what another set.
    With the variable WAVES a VCD is kept in build/waves.

    Args:
        dut: the component under test.
        benches: what drives it.
        background: testbenches that go on meanwhile.
        simulator: one of SIMULATORS. Verilator starts with a reset of two clocks.
        clocks: how many there may be.
        seconds: how long it may take.
        explain: says what is waited for, where the testbenches know it better than their lines tell.

    Raises:
        Hung: it took more clocks or seconds.
        BenchError: in Verilator: a watch of the unit failed.
        Exception: what a testbench raised.
    """
    waves = None
    if os.environ.get("WAVES"):
        WAVES.mkdir(parents=True, exist_ok=True)
        waves = WAVES.absolute() / f"{type(dut).__name__}-{secrets.token_hex(4)}.vcd"
        print(f"waves: {waves}")
    running = [_Running(bench, False) for bench in benches] + [_Running(bench, True) for bench in background]
    limits = _Limits(dut, running, clocks, seconds, explain)
    try:
        if simulator == "pysim":
            _in_python(dut, running, limits, waves)
        else:
            _in_verilator(dut, running, limits, waves, netlist=simulator == "netlist")
    finally:
        for one in running:
            one.end()


async def send(
    ctx: Any, port: Any, payloads: Iterable[Any], *, stall: float = 0.0, choose: random.Random | None = None
) -> None:
    """Drive a stream; a payload stays until it is taken. Before it clocks pass with the probability `stall`."""
    for payload in payloads:
        while choose and choose.random() < stall:
            await ctx.tick()
        ctx.set(port.payload, payload)
        ctx.set(port.valid, 1)
        await ctx.tick().until(port.ready)
        ctx.set(port.valid, 0)


class _Running:
    """A testbench, and where it is."""

    def __init__(self, bench: Bench, background: bool) -> None:
        self.bench, self.background = bench, background
        self.coroutine: Any = None

    async def run(self, ctx: Any) -> None:
        self.coroutine = self.bench(ctx)
        await self.coroutine

    def end(self) -> None:
        """Until Python 3.13 an `until` of Amaranth that is broken off fails, then where nobody can catch it."""
        if self.coroutine is not None:
            with contextlib.suppress(RuntimeError):
                self.coroutine.close()

    def waits_for(self, names: dict[int, str]) -> str:
        """Name of the testbench, the line in which it waits, and the port that it waits for."""
        at, coroutine, condition = "", self.coroutine, None
        while frame := getattr(coroutine, "cr_frame", None):
            if frame.f_code.co_name == "until":
                condition = frame.f_locals.get("condition")
            elif "amaranth" not in frame.f_code.co_filename:
                file, line = frame.f_code.co_filename, frame.f_lineno
                at = f"{os.path.basename(file)}:{line}: {linecache.getline(file, line).strip()}"
            coroutine = coroutine.cr_await
        port = "" if condition is None else f", for {names.get(id(Value.cast(condition)), condition)}"
        return f"{self.bench.__name__} waits in {at}{port}"


class _Limits:
    """How many clocks and seconds there are for a simulation."""

    def __init__(
        self, dut: Any, running: list[_Running], clocks: int, seconds: float, explain: Callable[[], str] | None
    ) -> None:
        self.dut, self.running, self.clocks, self.seconds, self.explain = dut, running, clocks, seconds, explain
        self.end = time.monotonic() + seconds

    def waits(self) -> str:
        if self.explain:
            return self.explain()
        flat = self.dut.signature.flatten(self.dut) if hasattr(self.dut, "signature") else ()
        names = {id(Value.cast(value)): ".".join(map(str, path)) for path, _, value in flat}
        return "; ".join(one.waits_for(names) for one in self.running
                         if not one.background and getattr(one.coroutine, "cr_frame", None))

    def out_of_clocks(self) -> Hung:
        return Hung(f"no end after {self.clocks} clocks: {self.waits()}")

    def look(self) -> None:
        """At the time."""
        if time.monotonic() > self.end:
            raise Hung(f"no end after {self.seconds:.1f} s: {self.waits()}")


def _in_python(dut: Any, running: list[_Running], limits: _Limits, waves: Any) -> None:
    top = Module()
    top.submodules.dut = dut

    async def limit(ctx: Any) -> None:
        await ctx.delay(limits.clocks * PERIOD_S)
        raise limits.out_of_clocks()

    running.append(_Running(limit, True))
    simulator = Simulator(top)
    simulator.add_clock(PERIOD_S, if_exists=True)  # a unit may have none
    for one in running:
        simulator.add_testbench(one.run, background=one.background)
    with simulator.write_vcd(str(waves)) if waves else contextlib.nullcontext():
        steps = 0
        while simulator.advance():
            steps += 1
            if steps % CLOCKS_BETWEEN_LOOKS == 0:
                limits.look()


def _in_verilator(dut: Any, running: list[_Running], limits: _Limits, waves: Any, *, netlist: bool) -> None:
    model = Verilated(dut, netlist=netlist, waves=waves)
    tasks: list[tuple[_Running, Coroutine[Any, Any, None]]] = []
    try:
        context = Context(dut, model)
        model.pins["rst"].write(1)
        for _ in range(RESET_CLOCKS):
            model.clock()
        model.pins["rst"].write(0)
        model.settle()
        tasks = [(one, one.run(context)) for one in running]
        waiting = [(one, task, _go_on(task, None)) for one, task in tasks]
        clock = 0
        while any(places is not None and not one.background for one, _, places in waiting):
            if clock == limits.clocks:
                raise limits.out_of_clocks()
            clock += 1
            if clock % CLOCKS_BETWEEN_LOOKS == 0:
                limits.look()
            context.settle()
            seen = [places and [place.get() for place in places] for _, _, places in waiting]
            model.clock()
            waiting = [(one, task, places if places is None else _go_on(task, values))
                       for (one, task, places), values in zip(waiting, seen, strict=True)]
    finally:
        for _, task in tasks:
            task.close()
        model.close()


def _go_on(task: Coroutine[Any, Any, None], values: Any) -> list[Place] | None:
    """To the next clock; the places to look at there, or None when the task has ended."""
    try:
        return task.send(values)
    except StopIteration:
        return None
