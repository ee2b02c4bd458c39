"""Consistent overhead byte stuffing: frames without zero bytes, so that a zero can end each of them.

A frame becomes blocks: a code byte c, then c - 1 bytes that are not zero. A block with c below 255 stands for its bytes
and a zero, but for the last block of a frame, which has no zero. Overhead: one byte in 254, and the zero at the end.
"""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.serial_link_protocol import ENTRY, LONGEST_BLOCK
from hw.streams import Queue
from hw.watch import watch_fifo, watch_stream

__all__ = ["DECODED", "CobsDecoder", "CobsEncoder"]

CODE = data.StructLayout({"byte": 8, "end": 1})
"""The code byte of a block, and whether the frame ends behind it."""

CODE_QUEUE_DEPTH = 16
"""Blocks that wait in the encoder."""

DECODED = data.StructLayout({"byte": 8, "end": 1, "damaged": 1})
"""As ENTRY; at the end of a frame, `damaged` says that it ended inside a block."""


class CobsDecoder(wiring.Component):
    """Decodes the bytes of the line to frames.

    Latency: none, a byte leaves in the clock in which it comes.

    Members:
        i: bytes of the line.
        o: DECODED.
    """

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(DECODED))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal(8)  # bytes of this block
        zero = Signal()   # a zero comes before the next block
        end, code = Signal(), Signal()
        m.d.comb += [
            end.eq(self.i.payload == 0),
            code.eq(left == 0),
            self.o.payload.byte.eq(self.i.payload & (~code).replicate(8)),
            self.o.payload.end.eq(end),
            self.o.payload.damaged.eq(~code),
            self.o.valid.eq(self.i.valid & (end | ~code | zero)),
            self.i.ready.eq(self.o.ready),
        ]
        with m.If(self.i.valid & self.o.ready):
            with m.If(end):
                m.d.sync += [left.eq(0), zero.eq(0)]
            with m.Elif(code):
                m.d.sync += [left.eq(self.i.payload - 1), zero.eq(self.i.payload != LONGEST_BLOCK + 1)]
            with m.Else():
                m.d.sync += left.eq(left - 1)
        return m


class CobsEncoder(wiring.Component):
    """Encodes frames to bytes of the line.

    A block leaves when its end is known, so up to 254 bytes wait.

    Throughput: one byte per clock, and a clock more per code byte and per end. Cost: two FIFOs, 512 bytes and
    `CODE_QUEUE_DEPTH` codes.

    Members:
        i: ENTRY.
        o: bytes of the line.
    """

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(ENTRY)), "o": Out(stream.Signature(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bytes = store = Queue(8, 512, buffered=True)
        m.submodules.codes = codes = Queue(CODE, CODE_QUEUE_DEPTH)
        watch_stream(m, platform, self.i, "i")
        watch_fifo(m, platform, store.i, "the FIFO of bytes")
        watch_fifo(m, platform, codes.i, "the FIFO of codes")

        count = Signal(8)  # bytes of this block so far
        keep, ends = Signal(), Signal()
        entry = self.i.payload
        m.d.comb += [
            self.i.ready.eq(store.i.ready & codes.i.ready),
            keep.eq(~entry.end & (entry.byte != 0)),
            ends.eq(~keep | (count == LONGEST_BLOCK - 1)),
            store.i.payload.eq(entry.byte),
            store.i.valid.eq(self.i.valid & self.i.ready & keep),
            codes.i.payload.byte.eq(count + keep + 1), codes.i.payload.end.eq(entry.end),
            codes.i.valid.eq(self.i.valid & self.i.ready & ends),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += count.eq(count + 1)
            with m.If(ends):
                m.d.sync += count.eq(0)

        left = Signal(8)
        last = Signal()
        code = codes.o.payload
        with m.FSM():
            with m.State("CODE"):
                m.d.comb += [
                    self.o.payload.eq(code.byte), self.o.valid.eq(codes.o.valid), codes.o.ready.eq(self.o.ready)
                ]
                with m.If(codes.o.valid & self.o.ready):
                    m.d.sync += [left.eq(code.byte - 1), last.eq(code.end)]
                    with m.If(code.byte != 1):
                        m.next = "BYTES"
                    with m.Elif(code.end):
                        m.next = "END"
            with m.State("BYTES"):
                m.d.comb += [
                    self.o.payload.eq(store.o.payload), self.o.valid.eq(store.o.valid), store.o.ready.eq(self.o.ready)
                ]
                with m.If(store.o.valid & self.o.ready):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.next = "CODE"
                        with m.If(last):
                            m.next = "END"
            with m.State("END"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "CODE"
        return m
