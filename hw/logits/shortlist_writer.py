"""Shortlists to memory: the record of each column of a group."""

from __future__ import annotations

from amaranth.hdl import Array, C, Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.contract.config import AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import write_beat, write_request
from hw.contract.shortlist import SHORTLIST, SHORTLIST_ROWS, record_beats
from hw.logits.interfaces import column_of, logits_row
from hw.logits.top_logits import list_read
from hw.watch import watch_stream

__all__ = ["ShortlistWriter"]

WORD_BITS = 64
"""A row of the list, and each of the two words before the list."""

FIRST_ROW = SHORTLIST["rows"].offset // WORD_BITS
REFERENCE = SHORTLIST["reference"].shape


class ShortlistWriter(wiring.Component):
    """Writes the record SHORTLIST of each column in a request of its own, when the lists of all columns are complete.

    Rules: the columns of a group are announced before its logits. The lists stay until `idle`.

    Cost: a clock per row of the list and one per beat, and one per column: 64-bit ports 134 clocks per column. This
    is after the last beat of the LM head, before the next pass.

    Members:
        columns: of the group; steady.
        count: rows in each list, 1 to 64; steady.
        i_row: logits_row.
        complete: a pulse, all logits of the group have been taken.
        settled: no logit that was taken is on its way into a list or a sum.
        list: the entries of the lists.
        column, sum, reference: those of a column.
        o_request, o: to the write engine.
        idle: no record is under way.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "columns": In(range(config.head_columns + 1)),
            "count": In(range(SHORTLIST_ROWS + 1)),
            "i_row": In(stream.Signature(logits_row(config), always_ready=True)),
            "complete": In(1), "settled": In(1),
            "list": Out(list_read(config)),
            "column": Out(column_of(config)), "sum": In(SHORTLIST["sum"].shape), "reference": In(REFERENCE),
            "o_request": Out(stream.Signature(write_request(config))),
            "o": Out(stream.Signature(write_beat(config))),
            "idle": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name in ("o_request", "o"):
            watch_stream(m, platform, getattr(self, name), name)
        config, words = self.config, self.config.port_bits // WORD_BITS
        beats = record_beats(config)
        addresses = Array(Signal(config.address_bits, name=f"address_{n}") for n in range(config.head_columns))
        of, taken = Signal(column_of(config)), Signal()
        place, following = (Signal(range(beats * words + 1), name=name) for name in ("place", "following"))
        collected = Signal(config.port_bits)
        m.d.comb += [
            following.eq(place + taken),
            self.list.column.eq(of),
            self.list.place.eq((following - FIRST_ROW)[: len(self.list.place)]),  # of the next clock
            self.column.eq(of),
            self.o_request.payload.address.eq(addresses[of]),
            self.o_request.payload.beats.eq(beats),
            self.o.payload.data.as_value().eq(collected),
            self.o.payload.strobe.eq(~0),
        ]
        m.d.sync += place.eq(following)
        with m.If(taken):
            m.d.sync += collected.eq(Cat(collected, self._word(m, place))[WORD_BITS:])
        with m.If(self.i_row.valid):
            m.d.sync += addresses[self.i_row.payload.column].eq(self.i_row.payload.address)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(1)
                m.d.sync += of.eq(0)
                with m.If(self.i_row.valid):
                    m.next = "LOGITS"
            with m.State("LOGITS"):
                with m.If(self.complete):
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                with m.If(self.settled):
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += self.o_request.valid.eq(1)
                m.d.sync += place.eq(0)
                with m.If(self.o_request.ready):
                    m.next = "WORDS"
            with m.State("WORDS"):
                m.d.comb += taken.eq(1)
                with m.If(place[: exact_log2(words)] == words - 1):
                    m.next = "BEAT"
            with m.State("BEAT"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "WORDS"
                    with m.If(place == beats * words):
                        m.d.sync += of.eq(of + 1)
                        m.next = "REQUEST"
                        with m.If(of == self.columns - 1):
                            m.next = "IDLE"
        return m

    def _word(self, m: Module, place: Signal) -> Signal:
        """The word at a place of the record."""
        word, row = Signal(WORD_BITS), Signal(32)
        m.d.comb += row.eq(self.list.row)
        with m.If(place == 0):
            m.d.comb += word.eq(self.sum)
        with m.Elif(place == 1):
            m.d.comb += word.eq(Cat(self.reference, self.count))
        with m.Elif(place < self.count + FIRST_ROW):
            m.d.comb += word.eq(Cat(row, C(0, 32 - FLOAT_BITS), self.list.logit))
        return word
