"""The buffer of requests: it drops damaged frames, so that all units behind it see only bytes that the host sent."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import memory, stream, wiring
from amaranth.lib.crc import catalog
from amaranth.lib.wiring import In, Out

from hw.contract.serial_link_protocol import BUFFER_BYTES, CRC_BYTES, ENTRY, REQUEST
from hw.serial_link.cobs import DECODED
from hw.watch import watch_stream

__all__ = ["FrameBuffer"]

SHORTEST = REQUEST.size // 8 + CRC_BYTES


class FrameBuffer(wiring.Component):
    """Stores frames whose CRC-32 is right, without the CRC, and drops all others.

    Rules: a frame that is shorter than a header and a CRC, or that finds no room, is damaged. An empty frame is
    ignored.

    Latency: the first byte of a frame is valid 3 clocks after the end of the frame. Cost: BUFFER_BYTES of 9 bits.

    Members:
        i: output of the decoder, always accepted.
        o: ENTRY; the frames one after the other.
        damaged: 1 for a clock when a frame is dropped.
    """

    def __init__(self) -> None:
        super().__init__({
            "i": In(stream.Signature(DECODED)),
            "o": Out(stream.Signature(ENTRY)),
            "damaged": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.store = store = memory.Memory(shape=unsigned(9), depth=BUFFER_BYTES, init=[])
        m.submodules.crc = crc = catalog.CRC32_ISO_HDLC(8).create()
        write, read = store.write_port(), store.read_port()
        end = Signal(range(BUFFER_BYTES))      # behind the last byte that came
        whole = Signal.like(end)               # behind the last whole frame
        begin = Signal.like(end)               # first entry that was not read
        count = Signal(range(SHORTEST + 1))    # bytes of the frame, as far as it matters
        lost = Signal()                        # a byte had no room
        full, good, ends = Signal(), Signal(), Signal()
        entry = self.i.payload
        m.d.comb += [
            self.i.ready.eq(1),
            full.eq((end + 1)[: len(end)] == begin),
            ends.eq(self.i.valid & entry.end),
            good.eq((count == SHORTEST) & ~lost & ~entry.damaged & crc.match_detected),
            crc.data.eq(entry.byte),
            crc.valid.eq(self.i.valid & ~entry.end),
            crc.start.eq(ends),
            # The mark of the end takes the place of the CRC.
            write.addr.eq(end),
            write.data.eq(Cat(entry.byte, entry.end)),
            write.en.eq(self.i.valid & ~full),
        ]
        with m.If(entry.end):
            m.d.comb += [write.addr.eq(end - CRC_BYTES), write.en.eq(ends & good)]
        m.d.sync += self.damaged.eq(ends & ~good & (count != 0))
        with m.If(ends):
            m.d.sync += [count.eq(0), lost.eq(0), end.eq(whole)]
            with m.If(good):
                m.d.sync += [end.eq(end - CRC_BYTES + 1), whole.eq(end - CRC_BYTES + 1)]
        with m.Elif(self.i.valid):
            with m.If(count != SHORTEST):
                m.d.sync += count.eq(count + 1)
            with m.If(full):
                m.d.sync += lost.eq(1)
            with m.Else():
                m.d.sync += end.eq(end + 1)

        watch_stream(m, platform, self.o, "o")
        m.d.comb += [read.addr.eq(begin), read.en.eq(0), self.o.payload.eq(read.data)]
        with m.If(~self.o.valid | self.o.ready):
            m.d.comb += read.en.eq(begin != whole)
            m.d.sync += [self.o.valid.eq(begin != whole), begin.eq(begin + (begin != whole))]
        return m
