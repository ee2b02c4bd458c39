"""This file keeps one row of a head until its largest magnitude is known, then gives it out again."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig, ceil_div
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import column_values
from hw.float.compare import magnitude
from hw.watch import watch

__all__ = ["RowBuffer", "row_word"]


def row_word(config: AccelConfig) -> data.StructLayout:
    """V elements of a row; `last` marks its last word."""
    return data.StructLayout({"values": column_values(config), "last": 1})


class RowBuffer(wiring.Component):
    """Memory of one row, at most `max_head_dim` elements, with the maximum of the magnitudes.

    Cycles: one word per clock in; `full` one clock after the word with `last`; one word per clock out, one clock after
    a clock with `replay` and `advance`. The row is given out once and taken back by `release`.

    Members:
        i: words of the row; not ready while `full`.
        full: a whole row is stored, `largest` is valid.
        largest: maximum of the magnitudes, a code without its sign.
        replay: give out the row; stays high.
        advance: the reader's pipeline moves.
        values, last, valid: the words of the row, in order; they stand still without `advance`.
        release: forget the row.
    """

    LATENCY = 1

    def __init__(self, config: AccelConfig):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(row_word(config))),
            "full": Out(1),
            "largest": Out(FLOAT_BITS - 1),
            "replay": In(1),
            "advance": In(1),
            "values": Out(column_values(config)),
            "last": Out(1),
            "valid": Out(1),
            "release": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        depth = ceil_div(self.config.max_head_dim, self.config.vector)
        m.submodules.row = row = memory.Memory(shape=row_word(self.config), depth=depth, init=[])
        write, read = row.write_port(), row.read_port()
        take, given = Signal(), Signal()
        place = Signal(range(depth))
        m.d.comb += [
            self.i.ready.eq(~self.full),
            take.eq(self.i.valid & self.i.ready),
            write.addr.eq(place),
            write.data.eq(self.i.payload),
            write.en.eq(take),
            read.addr.eq(place),
            read.en.eq(self.advance),
            self.values.eq(read.data["values"]),
            self.last.eq(read.data["last"]),
        ]
        maximum = self.largest
        for lane in range(self.config.vector):
            size = magnitude(self.i.payload["values"][lane])
            larger = Signal(FLOAT_BITS - 1, name=f"maximum_{lane}")
            m.d.comb += larger.eq(Mux(size > maximum, size, maximum))
            maximum = larger
        end = Signal(range(depth))
        with m.If(take & (place == depth - 1)):
            watch(m, platform, self.i.payload["last"], "a row is longer than {} words", depth)
        with m.If(take):
            m.d.sync += [self.largest.eq(maximum), place.eq(place + 1)]
            with m.If(self.i.payload["last"]):
                m.d.sync += [self.full.eq(1), end.eq(place), place.eq(0)]
        with m.If(self.full & self.advance):
            m.d.sync += self.valid.eq(self.replay & ~given)
            with m.If(self.replay & ~given):
                m.d.sync += [given.eq(place == end), place.eq(place + 1)]
        with m.If(self.release):
            m.d.sync += [self.full.eq(0), self.largest.eq(0), self.valid.eq(0), given.eq(0), place.eq(0)]
        return m
