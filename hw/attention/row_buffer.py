"""This file keeps rows of heads until their largest magnitudes are known, then gives them out again."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.interfaces import RowKind, row_command
from hw.contract.config import HEAD_UNIT, AccelConfig, ceil_div
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import column_values
from hw.dot.interfaces import row_words
from hw.float.compare import magnitude
from hw.float.rounding import exponent_field
from hw.streams import Queue
from hw.watch import watch, watch_fifo, watch_stream

__all__ = ["ROWS", "RowBuffer", "row_depth", "row_word", "row_write"]

ROWS = 4
"""Rows of the memory: one is written, one divided for, one given out, and one covers the latencies between them."""


def row_depth(config: AccelConfig) -> int:
    """Words of V elements in the longest row, without padding."""
    return ceil_div(config.max_head_dim, HEAD_UNIT) * HEAD_UNIT // config.vector


def row_write(config: AccelConfig) -> data.StructLayout:
    """V elements for place `index` of the row; `last` marks the word that completes the row, `query` a query row."""
    return data.StructLayout({
        "index": range(row_depth(config)), "values": column_values(config), "query": 1, "last": 1})


def row_word(config: AccelConfig) -> data.StructLayout:
    """V elements of a row in order, with what its command says, and the exponent field of its largest magnitude."""
    return data.StructLayout({
        "values": column_values(config),
        "kind": RowKind,
        "row": range(config.query_rows),
        "bank": unsigned(1),
        "scale_bank": unsigned(2),
        "index": range(row_words(config)),
        "exponent": unsigned(8),
        "last": 1,
    })


def _header(config: AccelConfig) -> data.StructLayout:
    """What is kept of a command: `words` words of the row are in the memory, and `total` are given out."""
    count = range(row_words(config) + 1)
    return data.StructLayout({
        "kind": RowKind, "row": range(config.query_rows), "bank": unsigned(1), "scale_bank": unsigned(2),
        "words": count, "total": count,
    })


class RowBuffer(wiring.Component):
    """Memory of `ROWS` rows, used in turn, and the maximum of the magnitudes of each.

    Rules: a command is taken when a row of the memory is free, and only then may its words come on `i`, which cannot
    wait. They come in any order, but row after row. The words of a row are given out in order when it is complete, keys
    and queries with zeros behind them up to `padded_words`.

    Throughput: one word per clock in and out at the same time. Latency: three clocks from the last word of a row to its
    first on `o`, two to `o_largest`.

    Members:
        i_row: row_command, in the order of the rows.
        i, i_en: row_write, and whether there is one in this clock.
        o_largest: maximum of the magnitudes of each key or value row, a code without its sign.
        o: row_word.
    """

    LATENCY = 3

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i_row": In(stream.Signature(row_command(config))),
            "i": In(row_write(config)),
            "i_en": In(1),
            "o_largest": Out(stream.Signature(FLOAT_BITS - 1)),
            "o": Out(stream.Signature(row_word(config))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        watch_stream(m, platform, self.o, "o")
        watch_stream(m, platform, self.o_largest, "o_largest")
        config = self.config
        place_bits = (row_depth(config) - 1).bit_length()
        m.submodules.words = words = memory.Memory(shape=column_values(config), depth=ROWS << place_bits, init=[])
        m.submodules.headers = headers = Queue(_header(config), ROWS)
        m.submodules.complete = complete = Queue(unsigned(8), ROWS)  # exponents
        write, read = words.write_port(), words.read_port()

        command, new = self.i_row.payload, headers.i.payload
        m.d.comb += [headers.i.valid.eq(self.i_row.valid), self.i_row.ready.eq(headers.i.ready)]
        for name in ("kind", "row", "bank", "scale_bank"):
            m.d.comb += new[name].eq(command[name])
        m.d.comb += [
            new.words.eq(command.half_words << 1),
            new.total.eq(Mux(command.kind == RowKind.VALUE, new.words, command.padded_words)),
        ]
        with m.If(self.i_row.valid):
            watch(m, platform, new.total >= new.words, "a row of {} words is padded to {}", new.words, new.total)

        filled = Signal(range(ROWS))
        m.d.comb += [
            write.en.eq(self.i_en), write.addr.eq(Cat(self.i.index, filled)), write.data.eq(self.i["values"])]
        with m.If(self.i_en & self.i.last):
            m.d.sync += filled.eq(filled + 1)
        with m.If(self.i_en):
            watch(m, platform, headers.o.valid, "a word comes without a command")
        self._add_largest(m, platform, complete)

        header, given, index = headers.o.payload, Signal(range(ROWS)), Signal(range(row_words(config)))
        advance, step, last, padding = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            step.eq(headers.o.valid & complete.o.valid & advance),
            last.eq(index == header.total - 1),
            headers.o.ready.eq(step & last),
            complete.o.ready.eq(step & last),
            read.en.eq(step),
            read.addr.eq(Cat(index[:place_bits], given)),
            self.o.payload["values"].eq(Mux(padding, 0, read.data)),
        ]
        with m.If(advance):
            m.d.sync += self.o.valid.eq(step)
        with m.If(step):
            m.d.sync += [
                index.eq(Mux(last, 0, index + 1)),
                given.eq(given + last),
                padding.eq(index >= header.words),
                self.o.payload.index.eq(index),
                self.o.payload.exponent.eq(complete.o.payload),
                self.o.payload.last.eq(last),
            ]
            for name in ("kind", "row", "bank", "scale_bank"):
                m.d.sync += self.o.payload[name].eq(header[name])
        return m

    def _add_largest(self, m: Module, platform: object, complete: Queue) -> None:
        """The maximum of a word, a clock later that of the row so far."""
        m.submodules.largest = queue = Queue(unsigned(FLOAT_BITS - 1), ROWS)
        wiring.connect(m, queue.o, wiring.flipped(self.o_largest))
        of_word, of_row = Signal(FLOAT_BITS - 1), Signal(FLOAT_BITS - 1)
        came, last, query, largest = Signal(), Signal(), Signal(), Signal(FLOAT_BITS - 1)
        sizes = [magnitude(value) for value in self.i["values"]]
        while len(sizes) > 1:
            sizes = [_larger(a, b) for a, b in zip(sizes[::2], sizes[1::2], strict=True)]
        m.d.sync += [of_word.eq(sizes[0]), came.eq(self.i_en), last.eq(self.i.last), query.eq(self.i.query)]
        m.d.comb += [
            largest.eq(_larger(of_word, of_row)),
            complete.i.valid.eq(came & last),
            complete.i.payload.eq(exponent_field(largest)),
            queue.i.valid.eq(came & last & ~query),
            queue.i.payload.eq(largest),
        ]
        with m.If(came):
            m.d.sync += of_row.eq(Mux(last, 0, largest))
        watch_fifo(m, platform, complete.i, "the FIFO of complete rows")
        watch_fifo(m, platform, queue.i, "the FIFO of maxima")


def _larger(a: Value, b: Value) -> Value:
    return Mux(a > b, a, b)
