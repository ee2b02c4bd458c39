"""Reads heads of the columns from the scratchpad, rotated by their positions or as they are."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.interfaces import RowKind, row_command
from hw.attention.rope import Rope
from hw.attention.rope_rows import rope_read
from hw.attention.row_buffer import row_depth, row_write
from hw.contract.config import AccelConfig
from hw.contract.machine_float import float_code
from hw.delay import delayed
from hw.memory.scratchpad import scratchpad_address, scratchpad_read

__all__ = ["HeadReader"]

READ_LATENCY = 1


class HeadReader(wiring.Component):
    """Reads a head of 2 * `half_words` words, one word per clock, and gives each with its place in the row.

    Keys and queries are rotated, values are not. An element that is rotated needs its partner, half a head away: word p
    of the lower half and word p of the upper half are read one after the other, and so two reads give the two words of
    the result. Values are read in order. They pass through `Rope` too, with an angle of zero, so that all words come
    with the same latency and need no choice behind it.

    Rules: `o` cannot wait; who sends a command has room for the row. Both read ports belong to this unit.

    Throughput: a word per clock; the next command is taken together with the last read of the row. Latency: `LATENCY`
    clocks from a read to its word; the first read is one clock after the command.

    Members:
        i: row_command.
        read: read port of the scratchpad.
        rope: read port of the RoPE rows.
        o, o_en: row_write, and whether there is one in this clock.
    """

    LATENCY = READ_LATENCY + 1 + Rope.LATENCY

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(row_command(config))),
            "read": Out(scratchpad_read(config)),
            "rope": Out(rope_read(config)),
            "o": Out(row_write(config)),
            "o_en": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        command, active = Signal(row_command(config)), Signal()
        low, high = Signal(config.word_bits), Signal(config.word_bits)  # the next words of the column in both halves
        pair, upper = Signal(range(row_depth(config))), Signal()
        tag = Signal(data.StructLayout({
            "en": 1, "index": range(row_depth(config)), "rotated": 1, "upper": 1, "query": 1, "last": 1}))
        m.d.comb += [
            tag.en.eq(active),
            tag.index.eq(Mux(upper, command.half_words + pair, pair)),
            tag.rotated.eq(command.kind != RowKind.VALUE),
            tag.upper.eq(upper),
            tag.query.eq(command.kind == RowKind.QUERY),
            tag.last.eq(tag.index == (command.half_words << 1) - 1),
            self.read.en.eq(active),
            self.read.addr.eq(scratchpad_address(m, config, column=command.column, word=Mux(upper, high, low))),
            self.rope.en.eq(active & upper),  # together with the second read of a pair
            self.rope.column.eq(command.column),
            self.rope.word.eq(pair),
            self.i.ready.eq(~active | tag.last),
        ]
        with m.If(tag.rotated):
            m.d.sync += upper.eq(~upper)
        with m.If(upper):
            m.d.sync += high.eq(high + 1)
        with m.Else():
            m.d.sync += low.eq(low + 1)
        with m.If(upper | ~tag.rotated):
            m.d.sync += pair.eq(pair + 1)
        with m.If(self.i.ready):
            m.d.sync += [
                active.eq(self.i.valid),
                command.eq(self.i.payload),
                low.eq(self.i.payload.base),
                high.eq(self.i.payload.base + self.i.payload.half_words),
                pair.eq(0),
                upper.eq(0),
            ]

        # In the clock in which `Rope` takes a word, the word read after it is at the port, and that read before it is
        # one register further.
        m.submodules.rotate = rotate = Rope(config)
        here = delayed(m, tag, READ_LATENCY + 1, name="tag")
        own = delayed(m, self.read.data, 1, name="own")
        before = delayed(m, own, 1, name="before")
        there = delayed(m, here, Rope.LATENCY, name="rotated")
        m.d.comb += [
            rotate.a.eq(own),
            rotate.b.eq(Mux(here.upper, before, self.read.data)),
            rotate.upper.eq(here.upper),
            self.o_en.eq(there.en),
            self.o.index.eq(there.index),
            self.o["values"].eq(rotate.o),
            self.o.query.eq(there.query),
            self.o.last.eq(there.last),
        ]
        for lane in range(config.vector):
            m.d.comb += [
                rotate.cos[lane].eq(Mux(here.rotated, self.rope.cos[lane], float_code(1))),
                rotate.sin[lane].eq(Mux(here.rotated, self.rope.sin[lane], 0)),
            ]
        return m
