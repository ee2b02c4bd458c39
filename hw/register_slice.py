"""A stream with registers on every wire. This file cuts long combinational paths, forwards and backwards."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.watch import watch_stream

__all__ = ["RegisterSlice"]


class RegisterSlice(wiring.Component):
    """Passes payloads on unchanged. Neither `o.valid` nor `i.ready` depends on the other side in the same clock.

    Latency: one clock. Throughput: one payload per clock. Cost: two payloads of registers.

    Members:
        i, o: streams of the given shape.
    """

    def __init__(self, shape) -> None:
        self.shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        watch_stream(m, platform, self.o, "o")
        spare, kept = Signal.like(self.i.payload), Signal()  # what came while the output waited
        m.d.comb += self.i.ready.eq(~kept)
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [self.o.valid.eq(self.i.valid | kept), kept.eq(0), self.o.payload.eq(self.i.payload)]
            with m.If(kept):
                m.d.sync += self.o.payload.eq(spare)
        with m.Elif(self.i.valid & ~kept):
            m.d.sync += [spare.eq(self.i.payload), kept.eq(1)]
        return m
