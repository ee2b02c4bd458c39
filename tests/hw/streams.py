"""Ports by their path, and agents for the ends of streams, in any simulator.

An agent is told to `drive` its end before a clock and to `look` after it, as `run_steps` does. It stalls as often as it
is told, and looks whether the unit keeps the rules of streams.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from enum import Enum
from functools import reduce
from typing import Any

from amaranth.hdl import Const, Shape, Value
from amaranth.lib import data

__all__ = ["Port", "Sink", "Source", "plain"]


def plain(value: Any) -> Any:
    """A payload constant as a dictionary of its fields, a list of its elements, or an integer."""
    if not hasattr(value, "shape"):
        return value.value if isinstance(value, Enum) else int(value)
    fields = {name: plain(value[name]) for name, _ in value.shape()}
    return list(fields.values()) if isinstance(value.shape(), data.ArrayLayout) else fields


class Port:
    """A port by its path, as bits."""

    def __init__(self, dut: Any, path: str) -> None:
        port = reduce(getattr, path.split("."), dut)
        self.shape, self.value = port.shape(), Value.cast(port).as_unsigned()
        self.mask = (1 << len(self.value)) - 1

    def bits(self, value: Any) -> int:
        """The port's own layout packs a value."""
        plain_number = isinstance(self.shape, Shape) and not isinstance(value, Enum)
        constant = value if plain_number else Const.cast(self.shape.const(value)).value
        return int(constant) & self.mask

    def plain(self, bits: int) -> Any:
        if not isinstance(self.shape, Shape):
            return plain(self.shape.from_bits(bits))
        return bits - self.mask - 1 if self.shape.signed and bits > self.mask >> 1 else bits


class Source:
    """Sends what waits into a stream."""

    def __init__(self, dut: Any, name: str, stall: float = 0.0, seed: int = 0) -> None:
        self.name, self.stall, self.choose = name, stall, random.Random(f"{seed} {name}")
        self.valid, self.ready, self.payload = (Port(dut, f"{name}.{part}") for part in ("valid", "ready", "payload"))
        self.waiting: deque[int] = deque()
        self.offers = False
        self.clocks: list[int] = []

    def send(self, payloads: Iterable[Any]) -> None:
        self.waiting.extend(map(self.payload.bits, payloads))

    def drive(self, ctx: Any) -> None:
        if self.offers or not self.waiting:
            return
        self.offers = self.choose.random() >= self.stall
        ctx.set(self.payload.value, self.waiting[0] ^ (0 if self.offers else self.payload.mask))
        ctx.set(self.valid.value, self.offers)

    def look(self, ctx: Any, clock: int, ready: int) -> bool:
        if not (self.offers and ready):
            return False
        self.clocks.append(clock)
        ctx.set(self.payload.value, self.waiting.popleft() ^ self.payload.mask)
        ctx.set(self.valid.value, 0)
        self.offers = False
        return True


class Sink:
    """Takes what a stream gives."""

    def __init__(self, dut: Any, name: str, stall: float = 0.0, seed: int = 0) -> None:
        self.name, self.stall, self.choose = name, stall, random.Random(f"{seed} {name}")
        self.valid, self.ready, self.payload = (Port(dut, f"{name}.{part}") for part in ("valid", "ready", "payload"))
        self.offered: int | None = None
        self.ready_now = self.valid_first = False
        self.received: list[int] = []
        self.clocks: list[int] = []

    def drive(self, ctx: Any) -> None:
        chosen = self.choose.random() >= self.stall
        self.ready_now = chosen and (self.offered is not None or not self.valid_first)
        ctx.set(self.ready.value, self.ready_now)

    def look(self, clock: int, valid: int, payload: int) -> bool:
        number = len(self.received)
        if self.offered is not None:
            assert valid, f"{self.name}: valid fell before payload {number} was taken"
            assert payload == self.offered, f"{self.name}: payload {number} changed before it was taken"
        self.offered = payload if valid and not self.ready_now else None
        if not (valid and self.ready_now):
            return False
        self.received.append(payload)
        self.clocks.append(clock)
        self.valid_first = self.stall > 0 and self.choose.random() < 0.5
        return True
