"""This file keeps the best rows of each column with their logits, sorted: the rows of a shortlist."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.shortlist import SHORTLIST_ROWS
from hw.float.compare import float_greater
from hw.logits.interfaces import best_row, column_of, logit_word
from hw.watch import Synthesis, watch

__all__ = ["TopLogits", "list_read"]

LAST = SHORTLIST_ROWS - 1
"""The last place of a list."""


def list_read(config: AccelConfig) -> wiring.Signature:
    """How the entries of the lists are read, as the reader sees it: the entry at a place of the list of a column comes
    one clock after its address."""
    entry = best_row(config).members
    return wiring.Signature({
        "column": Out(column_of(config)), "place": Out(range(SHORTLIST_ROWS)),
        "row": In(entry["row"]), "logit": In(entry["logit"]),
    })


class TopLogits(wiring.Component):
    """The SHORTLIST_ROWS largest logits of each column with their rows: the largest first, of equal ones the lowest row
    first.

    All lists are in one memory. A logit enters a list that is not full, or when it is greater than the last entry, the
    threshold of its column, which is in a memory that is read without a clock. It goes to its place from the end of the
    list: each smaller entry moves one place further, and the last one of a full list is lost. The rows of a column come
    in ascending order from 0, so that a logit stays behind its equals, and the row of a logit tells how long the list
    of its column is: row 0 begins it anew, and nothing is cleared between commands.

    The list is sorted at all times because few logits enter: of 128,256 rows in random order about 550, which take
    17,000 clocks more than as many that do not enter. Whoever reads the list need not sort.

    Throughput: one logit per clock that does not enter. One that enters takes n + 2 clocks when it moves n entries,
    n <= 63: 2 to 65. Latency: for these clocks, from the one after its acceptance on, `busy` is high, unless other
    logits are still in work.

    Timing: `i.ready` depends on two registers only; therefore the logit behind one that enters is accepted, and waits.
    The memory is read one clock ahead, two places in front of the one that is written: never the same place. Behind it
    is only the comparison with the new logit, which is in a register, and the choice of the entry to write.

    Members:
        i: logits of the columns of a group; of each column the rows in ascending order from 0, then its padding, which
            does not count. Row 0 of a column forgets its list.
        busy: a logit that was accepted is not in its place yet.
        read: the lists, to be read only while not `busy` and no logit comes. Places behind the rows of a column hold
            anything.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(logit_word(config))), "busy": Out(1), "read": In(list_read(config)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        entry = data.StructLayout({"row": self.read.row.shape(), "logit": FLOAT_BITS})
        columns = len(self.read.column)
        m.submodules.lists = lists = memory.Memory(shape=entry, depth=SHORTLIST_ROWS << columns, init=[])
        m.submodules.thresholds = thresholds = memory.Memory(shape=FLOAT_BITS, depth=1 << columns, init=[])
        write, read = lists.write_port(), lists.read_port()
        lower, threshold = thresholds.write_port(), thresholds.read_port(domain="comb")

        # a logit that waits to be judged, and whether it enters
        word, waits, placing = Signal.like(self.i.payload), Signal(), Signal()
        short, enters, end = Signal(), Signal(), Signal(range(SHORTLIST_ROWS))
        m.d.comb += [
            self.i.ready.eq(~waits | ~placing),
            self.busy.eq(waits | placing),
            threshold.addr.eq(word.column),
            short.eq(word.row < SHORTLIST_ROWS),
            enters.eq(waits & ~word.padding & (short | float_greater(word.logit, threshold.data))),
            end.eq(Mux(short, word.row, LAST)),
        ]
        with m.If(self.i.ready):
            m.d.sync += [waits.eq(self.i.valid), word.eq(self.i.payload)]
        with m.If(waits & ~placing & ~word.padding):
            _watch_rows(m, platform, word)

        # a logit that enters; the entry in front of the hole comes from the memory
        new, column, hole, stays = Signal(entry), Signal(columns), Signal(range(SHORTLIST_ROWS)), Signal()
        place, ahead = Signal(range(SHORTLIST_ROWS)), Signal(columns)
        m.d.comb += [
            stays.eq((hole == 0) | ~float_greater(new.logit, read.data.logit)),
            write.addr.eq(Cat(hole, column)),
            write.data.eq(Mux(stays, new, read.data)),
            write.en.eq(placing),
            lower.addr.eq(column),
            lower.data.eq(write.data.logit),
            lower.en.eq(placing & (hole == LAST)),
        ]
        with m.If(placing):
            m.d.sync += [hole.eq(hole - 1), placing.eq(~stays)]
        with m.Else():
            m.d.sync += [
                placing.eq(enters), hole.eq(end),
                column.eq(word.column), new.row.eq(word.row), new.logit.eq(word.logit),
            ]

        m.d.comb += [
            place.eq(self.read.place), ahead.eq(self.read.column),
            read.addr.eq(Cat(place, ahead)),
            self.read.row.eq(read.data.row), self.read.logit.eq(read.data.logit),
        ]
        with m.If(placing):
            m.d.comb += [place.eq(hole - 2), ahead.eq(column)]
        with m.Elif(waits):
            m.d.comb += [place.eq(end - 1), ahead.eq(word.column)]
        return m


def _watch_rows(m: Module, platform: object, word: Any) -> None:
    """The rows of each column come one after the other from 0."""
    if isinstance(platform, Synthesis):
        return
    following = Array(Signal.like(word.row, name=f"following_{n}") for n in range(1 << len(word.column)))
    expected = following[word.column]
    m.d.sync += expected.eq(word.row + 1)
    watch(m, platform, (word.row == 0) | (word.row == expected), "row {} comes instead of row {} of a column",
          word.row, expected)
