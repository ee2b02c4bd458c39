"""Reads one head of a column from the scratchpad, rotated by its position or as it is: rows for the quantisers."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.rope import Rope
from hw.attention.rope_rows import rope_read, rope_words
from hw.attention.row_buffer import row_word
from hw.contract.config import AccelConfig
from hw.memory.scratchpad import scratchpad_address, scratchpad_read
from hw.watch import watch_stream

__all__ = ["HeadReader", "head_read"]


def head_read(config: AccelConfig) -> data.StructLayout:
    """One head: its column, its first word in the column, words of V in half a head, and whether to rotate it."""
    return data.StructLayout({
        "column": unsigned(config.column_bits),
        "base": unsigned(config.word_bits),
        "half_words": range(rope_words(config) + 1),
        "rotate": unsigned(1),
    })


class HeadReader(wiring.Component):
    """Streams a head of 2 * `half_words` words in the order of its elements.

    A rotated element needs its partner half a head away, so each output word costs two reads; the pair goes through
    `Rope` twice, once for its low and once for its high half. A head that is not rotated is read the same way, without
    `Rope`, which keeps one sequence for both.

    Rules: the scratchpad's and the RoPE rows' read ports belong to this unit from `i` taken until the word with `last`
    has been taken on `o`. The next head is taken then.

    Cost: four clocks per output word, and Rope.LATENCY - 1 more for each that is rotated, if `o` does not stall.

    Members:
        i: head_read.
        read: the scratchpad's read port.
        rope: the RoPE rows' read port.
        o: row_word.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(head_read(config))),
            "read": Out(scratchpad_read(config)),
            "rope": Out(rope_read(config)),
            "o": Out(stream.Signature(row_word(config))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        watch_stream(m, platform, self.o, "o")
        config = self.config
        m.submodules.rotate = rotate = Rope(config)
        head = Signal(head_read(config))
        pair, high = Signal(range(rope_words(config) + 1)), Signal()
        last = Signal()
        word = Signal(config.word_bits)
        low_values = Signal.like(self.read.data)
        wanted = Signal(row_word(config))
        m.d.comb += [
            last.eq(high & (pair == head.half_words - 1)),
            self.read.addr.eq(scratchpad_address(m, config, column=head.column, word=word)),
            self.rope.column.eq(head.column),
            self.rope.word.eq(pair),
            rotate.i.payload.low.eq(low_values),
            rotate.i.payload.high.eq(self.read.data),
            rotate.i.payload.cos.eq(self.rope.cos),
            rotate.i.payload.sin.eq(self.rope.sin),
            wanted.last.eq(last),
            self.o.payload.eq(wanted),
        ]
        for lane in range(config.vector):
            turned = Mux(high, rotate.o.payload.high[lane], rotate.o.payload.low[lane])
            plain = Mux(high, self.read.data[lane], low_values[lane])
            m.d.comb += wanted["values"][lane].eq(Mux(head.rotate, turned, plain))

        with m.FSM():
            with m.State("HEAD"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [head.eq(self.i.payload), pair.eq(0), high.eq(0)]
                with m.If(self.i.valid):
                    m.next = "LOW"
            with m.State("LOW"):
                m.d.comb += [word.eq(head.base + pair), self.read.en.eq(1), self.rope.en.eq(1)]
                m.next = "HIGH"
            with m.State("HIGH"):
                m.d.comb += [word.eq(head.base + head.half_words + pair), self.read.en.eq(1)]
                m.d.sync += low_values.eq(self.read.data)
                m.next = "ROTATE"
            with m.State("ROTATE"):
                m.d.comb += rotate.i.valid.eq(head.rotate)
                with m.If(~head.rotate | rotate.i.ready):
                    m.next = "OUT"
            with m.State("OUT"):
                m.d.comb += [
                    self.o.valid.eq(~head.rotate | rotate.o.valid),
                    rotate.o.ready.eq(self.o.ready),
                ]
                with m.If(self.o.valid & self.o.ready):
                    m.d.sync += pair.eq(pair + 1)
                    m.next = "LOW"
                    with m.If(pair == head.half_words - 1):
                        m.d.sync += [pair.eq(0), high.eq(1)]
                    with m.If(last):
                        m.next = "HEAD"
        return m
