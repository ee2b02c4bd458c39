"""Assertions of the units, which every simulation checks and no bitstream contains.

A unit calls these functions in `elaborate` with the platform that it was given. For the platform `Synthesis` they add
nothing. For a simulator they add an `Assert`: a failure ends the simulation and names the unit and the reason. A
condition is checked at every clock edge at which the `m.If` around the call holds, so a value that only counts while
`valid` is watched under `m.If(valid)`. State that only a watch needs exists only with it.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Assert, Format, Module, Signal, Value

__all__ = ["Synthesis", "UltraRamSynthesis", "ultra_ram", "watch", "watch_fifo", "watch_range", "watch_stream"]


class Synthesis:
    """The platform of Verilog that becomes hardware: it leaves out the watches.

    Attributes:
        ultra_ram: the FPGA has UltraRAM, and large memories are marked for it. A tool for an FPGA without it may refuse
            the mark, as Yosys does.
    """

    ultra_ram = False


class UltraRamSynthesis(Synthesis):
    """The same, for an FPGA that has UltraRAM."""

    ultra_ram = True


def ultra_ram(platform: object) -> dict[str, str]:
    """Attributes of a memory that goes into UltraRAM where the FPGA has it."""
    return {"ram_style": "ultra"} if isinstance(platform, Synthesis) and platform.ultra_ram else {}


def watch(m: Module, platform: object, condition: Value, text: str, *values: Any) -> None:
    """`condition` holds at every clock edge; else the simulation ends with `text`, formatted with `values`.

    The text says what is wrong in one sentence; the simulator adds the path of the unit.
    """
    if not isinstance(platform, Synthesis):
        m.d.sync += Assert(condition, Format(text + "\n", *values))


def watch_fifo(m: Module, platform: object, i: Any, name: str) -> None:
    """No payload is offered to a full FIFO by a unit that cannot wait; `i` is the input stream of the FIFO."""
    watch(m, platform, ~i.valid | i.ready, f"{name} is written while it is full")


def watch_range(m: Module, platform: object, value: Value, limit: int | Value, name: str) -> None:
    """A number stays within -limit to limit, the bound of docs/numerics.md."""
    watch(m, platform, (value <= limit) & (value >= -limit), f"{name} is {{}}, beyond {{}}", value, limit)


def watch_stream(m: Module, platform: object, stream: Any, name: str) -> None:
    """A payload that was offered and not accepted stays valid and unchanged. A reset of the unit may withdraw it."""
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
