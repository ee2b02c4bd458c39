"""Bounds that the design itself watches, in every simulation and in no bitstream.

A unit calls these functions in `elaborate` with the platform it was given. The Verilog that is handed out is made for
`Synthesis` and holds nothing of them; every simulator gets an `Assert`, and its end is a failure that says where and
what. A condition is looked at with every clock edge, under the `m.If` around the call; so what a value must not be
while it means nothing need not be said twice. State that only a watch needs exists only with it.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Assert, Format, Module, Signal, Value

__all__ = ["Synthesis", "watch", "watch_fifo", "watch_range", "watch_stream"]


class Synthesis:
    """The platform of Verilog that becomes hardware: watches are left out."""


def watch(m: Module, platform: object, condition: Value, text: str, *values: Any) -> None:
    """`condition` holds at every clock edge; else the simulation ends with `text`, formatted with `values`.

    The text says what is wrong in one sentence; the simulator adds the path of the unit.
    """
    if not isinstance(platform, Synthesis):
        m.d.sync += Assert(condition, Format(text + "\n", *values))


def watch_fifo(m: Module, platform: object, i: Any, name: str) -> None:
    """Nothing is offered to a full FIFO by who cannot wait, where it would be lost; `i` is the FIFO's input stream."""
    watch(m, platform, ~i.valid | i.ready, f"{name} is written while it is full")


def watch_range(m: Module, platform: object, value: Value, limit: int | Value, name: str) -> None:
    """A number stays within -limit to limit, the bound of docs/numerics.md."""
    watch(m, platform, (value <= limit) & (value >= -limit), f"{name} is {{}}, beyond {{}}", value, limit)


def watch_stream(m: Module, platform: object, stream: Any, name: str) -> None:
    """What was offered and not taken is offered again, unchanged. A reset of the unit takes it back."""
    if isinstance(platform, Synthesis):
        return
    payload = Value.cast(stream.payload).as_unsigned()
    waits, last = Signal(name=f"{name}_waits"), Signal(len(payload), name=f"{name}_last")
    m.d.sync += waits.eq(stream.valid & ~stream.ready)
    with m.If(stream.valid & ~stream.ready):
        m.d.sync += last.eq(payload)
    with m.If(waits):
        watch(m, platform, stream.valid, f"{name} takes a payload back")
        with m.If(stream.valid):
            watch(m, platform, payload == last, f"{name} changes a payload that waits")
