"""Logits to memory as float32 words: rows of several columns at a time."""

from __future__ import annotations

from amaranth.hdl import Array, C, Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.contract.config import BLOCK_POSITIONS, AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import write_beat, write_request
from hw.dot.interfaces import POSITION_BITS
from hw.logits.interfaces import logit_word, logits_row
from hw.watch import watch, watch_stream

__all__ = ["LogitsWriter"]

FLOAT32_BITS = 32


class LogitsWriter(wiring.Component):
    """Collects the logits of 64 rows, and writes those of each column in a request of its own.

    The logits of a row come column by column, but the columns have rows of their own in memory. A memory with two banks
    turns them: while one is written, the other fills.

    Rules: the columns of a group are announced before its logits; the logit with `last` of the last column ends them.
    Words behind it in the last beat are 0.

    Cost: a clock per beat and one per request, beside the logits of the next 64 rows, which are as many or more.
    Memory: 2 x 64 codes for each column, read without a clock, which makes it one of LUTs: `ulx3s-bram` has no block
    RAM left.

    Members:
        columns: of the group; steady.
        i_row: logits_row.
        i: logit_word.
        o_request, o: to the write engine.
        idle: no row is under way.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "columns": In(range(config.head_columns + 1)),
            "i_row": In(stream.Signature(logits_row(config), always_ready=True)),
            "i": In(stream.Signature(logit_word(config))),
            "o_request": Out(stream.Signature(write_request(config))),
            "o": Out(stream.Signature(write_beat(config))),
            "idle": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name in ("o_request", "o"):
            watch_stream(m, platform, getattr(self, name), name)
        config, word = self.config, self.i.payload
        words = config.port_bits // FLOAT32_BITS
        column = word.column.shape()
        m.submodules.codes = codes = memory.Memory(
            shape=data.ArrayLayout(FLOAT_BITS, words), init=[],
            depth=(BLOCK_POSITIONS // words) << (1 + len(word.column)))
        write, read = codes.write_port(granularity=1), codes.read_port(domain="comb")

        # one bank fills
        filling, full = Signal(), Signal(2)
        rows = Signal(data.ArrayLayout(range(BLOCK_POSITIONS + 1), 2))  # of a bank, without padding
        lasts = Signal(2)
        place, word_bits = Signal(POSITION_BITS), exact_log2(words)  # wider than the row of a small vocabulary
        taken, block_end = self.i.valid & self.i.ready, Signal()
        m.d.comb += [
            place.eq(word.row),
            self.i.ready.eq(~self.idle & ~full.bit_select(filling, 1)),
            block_end.eq((word.column == self.columns - 1) & (word.last | (place == BLOCK_POSITIONS - 1))),
            write.addr.eq(Cat(place[word_bits:], word.column, filling)),
            *(write.data[n].eq(word.logit) for n in range(words)),
            write.en.eq(Mux(taken, 1 << place[:word_bits], 0)),
        ]
        with m.If(taken & ~word.padding):
            m.d.sync += rows[filling].eq(place + 1)
        with m.If(taken & block_end):
            m.d.sync += [full.bit_select(filling, 1).eq(1), lasts.bit_select(filling, 1).eq(word.last)]
            m.d.sync += filling.eq(~filling)

        # the other one is written
        writing, of, beat, beats = Signal(), Signal(column), Signal(range(BLOCK_POSITIONS)), Signal(range(65))
        addresses = Array(Signal(config.address_bits, name=f"address_{n}") for n in range(1 << len(word.column)))
        busy = Signal()
        m.d.comb += [
            self.idle.eq(~busy),
            beats.eq((rows[writing] + (words - 1)) >> word_bits),
            self.o_request.payload.address.eq(addresses[of]),
            self.o_request.payload.beats.eq(beats),
            read.addr.eq(Cat(beat[: POSITION_BITS - word_bits], of, writing)),
            self.o.payload.strobe.eq(~0),
            self.o.payload.data.as_value().eq(
                Cat(Cat(C(0, FLOAT32_BITS - FLOAT_BITS), read.data[n]) for n in range(words))),
        ]
        with m.FSM():
            with m.State("REQUEST"):
                m.d.comb += self.o_request.valid.eq(full.bit_select(writing, 1))
                m.d.sync += beat.eq(0)
                with m.If(self.o_request.valid & self.o_request.ready):
                    m.d.sync += addresses[of].eq(addresses[of] + BLOCK_POSITIONS * FLOAT32_BITS // 8)
                    m.next = "BEAT"
            with m.State("BEAT"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += beat.eq(beat + 1)
                    with m.If(beat == beats - 1):
                        m.next = "REQUEST"
                        m.d.sync += of.eq(of + 1)
                        with m.If(of == self.columns - 1):
                            m.d.sync += [of.eq(0), full.bit_select(writing, 1).eq(0), writing.eq(~writing)]
                            with m.If(lasts.bit_select(writing, 1)):
                                m.d.sync += busy.eq(0)
        with m.If(self.i_row.valid):
            m.d.sync += [addresses[self.i_row.payload.column].eq(self.i_row.payload.address), busy.eq(1)]
        watch(m, platform, ~self.i_row.valid | (full == 0), "a row is announced while logits wait")
        return m
