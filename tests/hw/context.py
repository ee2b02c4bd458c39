"""What a testbench gets in Verilator: `set`, `get` and `tick()` of ports and parts of ports, as Amaranth has them.

A testbench waits for a clock by giving the places that it wants to see in it (`Place`); `simulation.py` goes from clock
to clock, and sends what they held.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Sequence
from typing import Any

from amaranth.hdl import Const, Shape, Signal, Value
from amaranth.hdl._ast import Operator, Slice
from amaranth.lib.wiring import In

from sim.verilated import Verilated

__all__ = ["Context", "Place"]


class Place:
    """A port, or a part of one, of a Verilated unit."""

    def __init__(self, pin: Any, start: int, width: int, shape: Any) -> None:
        self.pin, self.start, self.mask, self.shape = pin, start, (1 << width) - 1, shape
        self.plain = isinstance(shape, Shape)
        self.sign = 1 << width - 1 if self.plain and shape.signed and width else 0

    def get(self) -> Any:
        """What it holds, as Amaranth's simulator shows it."""
        bits = self.pin.read() >> self.start & self.mask
        if not self.plain:
            return self.shape.from_bits(bits)
        return (bits ^ self.sign) - self.sign

    def set(self, value: Any) -> None:
        if not isinstance(value, int):
            value = Const.cast(value if self.plain else self.shape.const(value)).value
        elif not self.plain:
            value = Const.cast(self.shape.const(value)).value
        word = self.pin.read() & ~(self.mask << self.start)
        self.pin.write(word | (value & self.mask) << self.start)


class Context:
    """What a testbench gets in Verilator."""

    def __init__(self, component: Any, model: Verilated) -> None:
        self._model, self._pins, self._known, self._settled = model, {}, {}, False
        for path, member, value in component.signature.flatten(component):
            port = Value.cast(value)
            if len(port):
                self._pins[id(port)] = model.pins["__".join(map(str, path))]
                if member.flow is In:
                    self.set(port, port.init)

    def _place(self, target: Any) -> Place:
        if isinstance(target, Signal):  # it lives as long as the component does, other values need not
            if id(target) not in self._known:
                self._known[id(target)] = self._find(target)
            return self._known[id(target)]
        return self._find(target)

    def _find(self, target: Any) -> Place:
        value, start = Value.cast(target), 0
        width = len(value)
        while not isinstance(value, Signal):
            if isinstance(value, Slice):
                start, value = start + value.start, value.value
            elif isinstance(value, Operator) and value.operator in ("s", "u"):
                value = value.operands[0]
            else:
                raise TypeError(f"{target!r} is no part of a port")
        return Place(self._pins[id(value)], start, width, target.shape())

    def settle(self) -> None:
        if not self._settled:
            self._model.settle()
            self._settled = True

    def get(self, target: Any) -> Any:
        self.settle()
        return self._place(target).get()

    def set(self, target: Any, value: Any) -> None:
        self._place(target).set(value)
        self._settled = False

    def tick(self) -> Tick:
        return Tick(self, [])


class Tick:
    """What `ctx.tick()` gives."""

    def __init__(self, context: Context, places: list[Place]) -> None:
        self._context, self._places = context, places

    def sample(self, *values: Any) -> Tick:
        return Tick(self._context, [*self._places, *map(self._context._place, values)])

    def __await__(self) -> Generator[list[Place], list[Any], tuple[Any, ...]]:
        values = yield self._places
        return (True, False, *values)

    async def __aiter__(self) -> AsyncIterator[tuple[Any, ...]]:
        while True:
            yield await self

    async def until(self, condition: Any) -> tuple[Any, ...]:
        tick = self.sample(condition)
        while True:
            _, _, *values, ended = await tick
            if ended:
                return tuple(values)

    async def repeat(self, count: int) -> tuple[Any, ...]:
        values: Sequence[Any] = ()
        for _ in range(count):
            _, _, *values = await self
        return tuple(values)
