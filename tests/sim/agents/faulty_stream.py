"""A stream buffer that breaks the rules of streams on demand."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Fault", "FaultyStream"]


class Fault(enum.Enum, shape=3):
    """What goes wrong, at the third payload."""

    NONE = 0
    VALID_FALLS = 1
    PAYLOAD_CHANGES = 2
    NEVER_READY = 3
    TWICE = 4
    WAITS_FOR_READY = 5


class FaultyStream(wiring.Component):
    """Holds one payload. A rule about waiting can only be broken when the other end lets it wait."""

    def __init__(self) -> None:
        super().__init__({"fault": In(Fault), "i": In(stream.Signature(8)), "o": Out(stream.Signature(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        full, count, held, late = Signal(), Signal(4), Signal(8), Signal()
        third = Signal()
        m.d.comb += [
            third.eq(count == 3),
            self.i.ready.eq(~full & ~((self.fault == Fault.NEVER_READY) & (count == 2))),
            self.o.valid.eq(full & ~((self.fault == Fault.VALID_FALLS) & third & late)
                            & ~((self.fault == Fault.WAITS_FOR_READY) & ~self.o.ready)),
            self.o.payload.eq(held + ((self.fault == Fault.PAYLOAD_CHANGES) & third & late)),
        ]
        m.d.sync += late.eq(full & ~late)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [held.eq(self.i.payload), full.eq(1), count.eq(count + 1), late.eq(0)]
        with m.If(self.o.valid & self.o.ready):
            with m.If((self.fault == Fault.TWICE) & third):
                m.d.sync += count.eq(count + 1)
            with m.Else():
                m.d.sync += full.eq(0)
        return m
