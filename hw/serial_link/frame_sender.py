"""The CRC of answers."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.crc import catalog
from amaranth.lib.wiring import In, Out

from hw.contract.serial_link_protocol import ENTRY

__all__ = ["FrameSender"]


class FrameSender(wiring.Component):
    """Inserts the CRC-32 of a frame, lowest byte first, between its last byte and its end, and passes all else through.

    Members:
        i: ENTRY, without CRC.
        o: ENTRY, with CRC.
    """

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(ENTRY)), "o": Out(stream.Signature(ENTRY))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.crc = crc = catalog.CRC32_ISO_HDLC(8).create()
        place = Signal(3)  # byte of the CRC that comes next; 4: the end
        m.d.comb += [
            self.o.payload.eq(self.i.payload),
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready),
            crc.data.eq(self.i.payload.byte),
            crc.valid.eq(self.i.valid & self.o.ready & ~self.i.payload.end),
        ]
        with m.If(self.i.valid & self.i.payload.end & ~place[2]):
            m.d.comb += [self.i.ready.eq(0), self.o.payload.end.eq(0)]
            m.d.comb += self.o.payload.byte.eq(crc.crc.word_select(place[:2], 8))
            with m.If(self.o.ready):
                m.d.sync += place.eq(place + 1)
        with m.Elif(self.i.valid & self.i.payload.end & self.o.ready):
            m.d.sync += place.eq(0)
            m.d.comb += crc.start.eq(1)
        return m
