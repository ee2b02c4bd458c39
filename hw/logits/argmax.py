"""This file finds the row with the largest logit of each column."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.float.compare import float_greater
from hw.logits.interfaces import best_row, logit_word

__all__ = ["Argmax"]


class Argmax(wiring.Component):
    """The row of the largest logit of each column; ties go to the lowest row.

    The rows of a column come in ascending order from 0, or with a split head from any row on, so that a later logit
    replaces the best one only when it is strictly greater. The best of each column so far is in a memory that is read
    without a clock.

    Latency: a result is valid one clock after the logit with `last`. Throughput: one logit per clock.

    Members:
        i: logits of the columns of a group, in any order of the columns.
        o: one result per column; taken at once.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(logit_word(config))),
            "o": Out(stream.Signature(best_row(config), always_ready=True)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word, result = self.i.payload, self.o.payload
        kept = data.StructLayout({"row": result.row.shape(), "logit": FLOAT_BITS})
        m.submodules.bests = bests = memory.Memory(shape=kept, depth=1 << len(word.column), init=[])
        write, read = bests.write_port(), bests.read_port(domain="comb")
        better, best = Signal(), Signal(kept)
        first = word.first if self.config.candidates else word.row == 0
        m.d.comb += [
            self.i.ready.eq(1),
            read.addr.eq(word.column),
            better.eq(first | (float_greater(word.logit, read.data.logit) & ~word.padding)),
            best.eq(read.data),
            write.addr.eq(word.column),
            write.data.eq(best),
            write.en.eq(self.i.valid & better),
        ]
        with m.If(better):
            m.d.comb += [best.row.eq(word.row), best.logit.eq(word.logit)]
        m.d.sync += [
            self.o.valid.eq(self.i.valid & word.last),
            result.column.eq(word.column),
            result.row.eq(best.row),
            result.logit.eq(best.logit),
        ]
        return m
