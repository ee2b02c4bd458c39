"""The rows of a split head that can have the largest logit: section 7.2 of docs/numerics.md, listed and rescored."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.bound import bounded
from hw.contract.config import AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.float.compare import float_greater
from hw.logits.interfaces import bound_word, candidate
from hw.watch import Synthesis, ultra_ram, watch, watch_stream

__all__ = ["Candidates"]

BELOW_ALL = (1 << FLOAT_BITS) - 1
"""No code of a machine float, and less than all of them for `float_greater`."""


class Candidates(wiring.Component):
    """Lists the rows of a column whose upper bound reaches the largest lower bound, and gives them when it is known.

    A row is listed if its upper bound is not below the largest lower bound up to its own. Most rows are not, and the
    list is a block RAM that is written once from its start. When all rows have come it is read once, and the rows whose
    upper bound is below the final lower bound are dropped: those that were listed before a better row came.

    Both bounds are compared with `least` by the same comparator: a lower bound that is not below it replaces it. What
    the list reads goes through a register, so that the comparator is not behind block RAM. A row is offered when the
    next one has been found, or the end of the list, so that the last one is known as such.

    Rules: a list begins with `clear`, a clock or more before its first word; no row is offered then. A list has a row
    that is no padding. Of scales that are not negative, as they are packed, a row is always left; of others, whose
    lower bounds are above the upper ones, perhaps none is.

    Latency: `least` is right one clock after a lower bound, `listed` and `overflow` two clocks after an upper bound;
    `complete` rises LATENCY clocks after the last word. The first row is offered 2 clocks after `complete` and one for
    each listed row up to the second one that is left, or to the end of the list: 4 clocks if both are the first of the
    list, or if there is only one; `none` comes when the list ends. Throughput: one word per clock, of `i`, and of the
    list, whether a row is left or dropped.

    Members:
        clear: a pulse, the list begins anew.
        i: bound_word; the rows in ascending order, and those of the padding behind them, which do not count.
        least: the largest lower bound so far; before the first one no machine float.
        listed: rows in the list.
        overflow: there were more rows to list than there is room for; no row is offered then.
        complete: the last word was taken; the outputs above are final until `clear`.
        none: no row is left, so none is offered, and `complete`, without `overflow`; until `clear`.
        o: candidate; the listed rows whose upper bound is not below `least`, in ascending order, once.
    """

    LATENCY = 2

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "clear": In(1),
            "i": In(stream.Signature(bound_word(config), always_ready=True)),
            "least": Out(FLOAT_BITS, init=BELOW_ALL),
            "listed": Out(range(config.candidates + 1)),
            "overflow": Out(1),
            "complete": Out(1),
            "none": Out(1),
            "o": Out(stream.Signature(candidate(config))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        watch_stream(m, platform, self.o, "o")
        row = candidate(self.config).members
        entry = data.StructLayout({name: row[name] for name in ("row", "scale", "upper")})
        m.submodules.list = kept = memory.Memory(shape=entry, depth=self.config.candidates, init=[],
                                               attrs=ultra_ram(platform))
        bounded(platform, self.listed, "listed rows of a split head", "candidates", self.config.candidates)
        self._write(m, platform, kept.write_port())
        self._read(m, platform, kept.read_port())
        with m.If(self.clear):
            m.d.sync += [self.least.eq(BELOW_ALL), self.listed.eq(0), self.overflow.eq(0), self.complete.eq(0)]
            watch(m, platform, ~self.i.valid, "a bound comes while the list is cleared")
        return m

    def _write(self, m: Module, platform: object, write: memory.WritePort) -> None:
        """Compares a bound, and in the clock behind it writes the row."""
        word, reaches = self.i.payload, Signal()
        enters, ends = Signal(), Signal()
        full = self.listed == self.config.candidates
        m.d.comb += reaches.eq(self.i.valid & ~word.padding & ~float_greater(self.least, word.bound))
        with m.If(reaches & ~word.upper):
            m.d.sync += self.least.eq(word.bound)
        m.d.sync += [
            enters.eq(reaches & word.upper),
            ends.eq(self.i.valid & word.upper & word.last),
            write.data.row.eq(word.row),
            write.data.scale.eq(word.scale),
            write.data.upper.eq(word.bound),
        ]
        m.d.comb += [write.addr.eq(self.listed[:len(write.addr)]), write.en.eq(enters & ~full)]
        with m.If(enters & full):
            m.d.sync += self.overflow.eq(1)
        with m.Elif(enters):
            m.d.sync += self.listed.eq(self.listed + 1)
        with m.If(ends):
            m.d.sync += self.complete.eq(1)
        with m.If(self.i.valid):
            watch(m, platform, ~self.complete & ~ends, "a bound comes behind the last one")
        _watch_order(m, platform, self.i, self.clear)

    def _read(self, m: Module, platform: object, read: memory.ReadPort) -> None:
        """Reads the list, and gives the rows that are left."""
        o = self.o.payload
        place, reads, fetched = Signal(range(self.config.candidates + 1)), Signal(), Signal()
        entry, compared = Signal(read.data.shape()), Signal()  # `compared`: there is a row in `entry`
        waiting, waits = Signal(read.data.shape()), Signal()  # a row that is left, until the next one is found
        advances, left, ended, given = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            advances.eq(~waits | ~self.o.valid | self.o.ready),
            reads.eq(self.complete & ~self.overflow & (place != self.listed)),
            ended.eq(self.complete & ~reads & ~fetched & ~compared),
            left.eq(compared & ~float_greater(self.least, entry.upper)),
            given.eq(waits & (left | ended)),
            read.addr.eq(place[:len(read.addr)]),
            read.en.eq(advances),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += o.first.eq(0)
        with m.If(advances):
            m.d.sync += [place.eq(place + reads), fetched.eq(reads), compared.eq(fetched), entry.eq(read.data)]
            with m.If(left):
                m.d.sync += waiting.eq(entry)
            with m.If(left | ended):
                m.d.sync += waits.eq(left)
            with m.If(given):
                m.d.sync += [
                    self.o.valid.eq(1), o.last.eq(ended),
                    *(o[name].eq(waiting[name]) for name in ("row", "scale", "upper")),
                ]
        with m.If(ended):
            watch(m, platform, self.least != BELOW_ALL, "a list has no row")
        m.d.comb += self.none.eq(ended & ~self.overflow & ~waits & ~self.o.valid & o.first)
        with m.If(self.clear):
            m.d.sync += [place.eq(0), fetched.eq(0), compared.eq(0), waits.eq(0), self.o.valid.eq(0), o.first.eq(1)]


def _watch_order(m: Module, platform: object, bounds: Any, clear: Value) -> None:
    """Of each row the lower bound comes, then the upper one; rows ascend."""
    if isinstance(platform, Synthesis):
        return
    word = bounds.payload
    before, lower, some = Signal.like(word.row), Signal(), Signal()  # the last word, and whether it was a lower bound
    with m.If(clear):
        m.d.sync += [lower.eq(0), some.eq(0)]
    with m.Elif(bounds.valid):
        m.d.sync += [before.eq(word.row), lower.eq(~word.upper), some.eq(1)]
        with m.If(lower):
            watch(m, platform, word.upper & (word.row == before), "the upper bound of row {} does not follow", before)
        with m.Else():
            watch(m, platform, ~word.upper, "the lower bound of row {} is missing", word.row)
            watch(m, platform, ~some | (word.row > before), "row {} comes behind row {}", word.row, before)
