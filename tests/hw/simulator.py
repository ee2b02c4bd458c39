"""A simulator with the interface of Amaranth's: `Simulator(component)` in pytest is that one, inside cocotb it is a
Verilated model. So a bench that answers its unit clock by clock, in tasks with a context, runs in both.

Of the context there are `set`, `get` and `tick()` with `sample`, `until` and `repeat`. A value that was set is seen by
combinational outputs from the next clock edge on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any

from amaranth.hdl import Shape, Signal, Value
from amaranth.hdl._ast import Operator, Slice
from amaranth.lib.wiring import In
from amaranth.sim import Simulator as PythonSimulator

__all__ = ["Simulator", "run_in_verilator"]

SETTLED = 1
"""ns after the clock edge in which tasks go on."""

model: Any = None
"""Inside cocotb: the simulated top module, whose clock runs."""


def Simulator(component: Any) -> Any:
    """A simulator of the component."""
    return PythonSimulator(component) if model is None else _VerilatedSimulator(component)


def run_in_verilator(component: Any, function: Callable[[], None]) -> None:
    """Build the model of a component and call a function of a test module there; it simulates that component only."""
    from hw.contract.config import preset
    from sim.bench import run_bench

    config = getattr(component, "config", None) or preset("tiny")
    run_bench(component, config, "tests.hw.simulator_bench",
              parameters={"module": function.__module__, "function": function.__name__})


class _Pin:
    """A port, or a part of one, at the simulated module."""

    def __init__(self, pins: dict[int, str], target: Any) -> None:
        self.shape = target.shape()
        value, self.start = Value.cast(target), 0
        self.width = len(value)
        while not isinstance(value, Signal):
            if isinstance(value, Slice):
                self.start, value = self.start + value.start, value.value
            elif isinstance(value, Operator) and value.operator in ("s", "u"):
                value = value.operands[0]
            else:
                raise TypeError(f"{target!r} is no part of a port")
        self.port = value
        self.name = pins[id(value)]

    def bits(self, value: Any) -> int:
        """A value for this place, as an unsigned number."""
        constant = int(value) if isinstance(self.shape, Shape) else Value.cast(self.shape.const(value)).value
        return constant & (1 << self.width) - 1

    def value(self, word: int) -> Any:
        """What this place holds when the port has `word`; as Amaranth's simulator shows it."""
        bits = word >> self.start & (1 << self.width) - 1
        if not isinstance(self.shape, Shape):
            return self.shape.from_bits(bits)
        return bits - (1 << self.width) if self.shape.signed and bits >> self.width - 1 else bits


class _Tick:
    """What `ctx.tick()` gives."""

    def __init__(self, context: _Context, samples: tuple[Any, ...] = ()) -> None:
        self.context, self.samples = context, samples

    def sample(self, *values: Any) -> _Tick:
        return _Tick(self.context, (*self.samples, *values))

    async def once(self) -> tuple[Any, ...]:
        """The samples of the next clock edge, before it changes anything."""
        from cocotb.triggers import RisingEdge, Timer

        await RisingEdge(model.clk)
        values = tuple(self.context.get(value) for value in self.samples)
        await Timer(SETTLED, "ns")
        return values

    async def until(self, condition: Any) -> tuple[Any, ...]:
        while True:
            *values, ended = await self.sample(condition).once()
            if ended:
                return tuple(values)

    async def repeat(self, count: int) -> tuple[Any, ...]:
        values: tuple[Any, ...] = ()
        for _ in range(count):
            values = await self.once()
        return values

    def __await__(self) -> Generator[Any, None, tuple[Any, ...]]:
        values = yield from self.once().__await__()
        return (True, False, *values)


class _Context:
    """What a testbench gets."""

    def __init__(self, component: Any) -> None:
        self.pins = {id(Value.cast(value)): "__".join(map(str, path))
                     for path, _, value in component.signature.flatten(component)}
        self.driven: dict[str, int] = {}

    def get(self, target: Any) -> Any:
        pin = _Pin(self.pins, target)
        return pin.value(self.driven[pin.name] if pin.name in self.driven else int(getattr(model, pin.name).value))

    def set(self, target: Any, value: Any) -> None:
        pin = _Pin(self.pins, target)
        mask = (1 << pin.width) - 1 << pin.start
        word = self.driven.get(pin.name, pin.port.init)
        self.driven[pin.name] = word = word & ~mask | pin.bits(value) << pin.start
        getattr(model, pin.name).value = word

    def tick(self) -> _Tick:
        return _Tick(self)


class _VerilatedSimulator:
    """Starts with a reset; the inputs have their initial values."""

    def __init__(self, component: Any) -> None:
        self.component = component
        self.benches: list[tuple[Callable[[Any], Awaitable[None]], bool]] = []
        component._MustUse__used = True  # it is only the names and shapes of the ports

    def add_clock(self, period: float) -> None:
        """There is one already."""

    def add_testbench(self, bench: Callable[[Any], Awaitable[None]], *, background: bool = False) -> None:
        self.benches.append((bench, background))

    def run(self) -> None:
        """Until all testbenches but those in the background have ended."""
        from cocotb.task import resume

        resume(self._run)()

    async def _run(self) -> None:
        import cocotb
        from cocotb.triggers import Event, First, RisingEdge, Timer

        context = _Context(self.component)
        for _, member, value in self.component.signature.flatten(self.component):
            if member.flow is In:
                signal = Value.cast(value)
                context.set(signal, signal.init)
        model.rst.value = 1
        for _ in range(2):
            await RisingEdge(model.clk)
        model.rst.value = 0
        await Timer(SETTLED, "ns")
        failed, errors = Event(), []

        async def guarded(bench: Callable[[Any], Awaitable[None]]) -> None:
            try:
                await bench(context)
            except Exception as error:
                errors.append(error)
                failed.set()

        tasks = [(cocotb.start_soon(guarded(bench)), background) for bench, background in self.benches]
        for task, background in tasks:
            if not background and not errors:
                await First(task, failed.wait())
        for task, _ in tasks:
            task.cancel()
        if errors:
            raise errors[0]
