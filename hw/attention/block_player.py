"""Plays the rows of a loaded block for one query head: keys to the dot engine, then values to the weighted sums."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.attention.block_loader import block_read
from hw.attention.query_memory import query_read, row_beats
from hw.attention.weighted_values import value_beat
from hw.contract.config import BLOCK_POSITIONS, AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.dot.dot_engine import dot_word
from hw.watch import watch_stream

__all__ = ["BlockPlayer", "key_scales", "play"]

PAIR_BITS = 64


def play(config: AccelConfig) -> data.StructLayout:
    """What to play: keys or values of the block's first `rows` positions (1 to 16), for a head of the group."""
    return data.StructLayout({
        "head": range(config.max_group),
        "rows": range(BLOCK_POSITIONS + 1),
        "row_beats": range(row_beats(config) + 1),
        "values": 1,
    })


def key_scales(config: AccelConfig) -> data.StructLayout:
    """The scales of a row of keys, in the order of the rows: the query's, the key's, and the value row's beside it."""
    return data.StructLayout({"query": FLOAT_BITS, "key": FLOAT_BITS, "value": FLOAT_BITS, "last": 1})


class BlockPlayer(wiring.Component):
    """Reads a block in its memory order (docs/isa.md): 16 pairs of scales, 16 rows of keys, 16 rows of values.

    Rules: keys give one `o_scales` word per row before the row's beats; both streams may stall. The next command is
    taken when the last beat has been.

    Cost: a clock per beat; one more per row of values, three more per row of keys (its scales); one per command.

    Members:
        i: play.
        block: block_read, to the loader.
        query: query_read, to the query memory.
        o_scales: key_scales.
        o_keys: dot_word.
        o_values: value_beat.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(play(config))),
            "block": Out(block_read(config)),
            "query": Out(query_read(config)),
            "o_scales": Out(stream.Signature(key_scales(config))),
            "o_keys": Out(stream.Signature(dot_word(config.beat_bytes))),
            "o_values": Out(stream.Signature(value_beat(config))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name in ("o_scales", "o_values"):
            watch_stream(m, platform, getattr(self, name), name)
        config = self.config
        pairs = config.port_bits // PAIR_BITS
        scale_beats = BLOCK_POSITIONS // pairs
        command = Signal(play(config))
        row, place = Signal(range(BLOCK_POSITIONS)), Signal(range(row_beats(config) + 1))
        row_start = Signal.like(self.block.addr)
        last_row, last_beat = Signal(), Signal()
        shown, shown_first, shown_last = Signal(), Signal(), Signal()  # the beat that the memory shows now
        advance = Signal()
        m.d.comb += [
            last_row.eq(row == command.rows - 1),
            last_beat.eq(place == command.row_beats - 1),
            self.query.head.eq(command.head),
            self.query.word.eq(place),
        ]

        pair = Cat(*self.block.data).word_select(row[: (pairs - 1).bit_length()] if pairs > 1 else 0, PAIR_BITS)
        m.d.comb += [
            self.o_scales.payload.query.eq(self.query.scale),
            self.o_scales.payload.key.eq(pair[32 - FLOAT_BITS : 32]),
            self.o_scales.payload.value.eq(pair[64 - FLOAT_BITS : 64]),
            self.o_scales.payload.last.eq(last_row),
            self.o_keys.payload.beat.eq(self.block.data),
            self.o_keys.payload.first.eq(shown_first),
            self.o_keys.payload.last.eq(shown_last),
            self.o_keys.valid.eq(shown & ~command["values"]),
            self.o_values.payload.beat.eq(self.block.data),
            self.o_values.payload.last.eq(shown_last),
            self.o_values.payload.last_row.eq(last_row),
            self.o_values.valid.eq(shown & command["values"]),
            advance.eq(~shown | Mux(command["values"], self.o_values.ready, self.o_keys.ready)),
        ]
        for byte in range(config.beat_bytes):
            m.d.comb += self.o_keys.payload.operands[byte].eq(self.query.codes[byte // config.kv_bytes])

        with m.FSM():
            with m.State("COMMAND"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [command.eq(self.i.payload), row.eq(0), place.eq(0), row_start.eq(scale_beats)]
                with m.If(self.i.valid & self.i.payload["values"]):
                    m.d.sync += row_start.eq(scale_beats + (self.i.payload.row_beats << 4))
                    m.next = "BEATS"
                with m.Elif(self.i.valid):
                    m.next = "SCALES"
            with m.State("SCALES"):
                m.d.comb += [self.block.en.eq(1), self.block.addr.eq(row >> exact_log2(pairs))]
                m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += self.o_scales.valid.eq(1)
                with m.If(self.o_scales.ready):
                    m.next = "BEATS"
            with m.State("BEATS"):
                m.d.comb += [self.block.en.eq(advance), self.block.addr.eq(row_start + place)]
                m.d.comb += self.query.en.eq(advance)
                with m.If(advance):
                    m.d.sync += [shown.eq(1), shown_first.eq(place == 0), shown_last.eq(last_beat)]
                    m.d.sync += place.eq(place + 1)
                    with m.If(last_beat):
                        m.next = "ROW"
            with m.State("ROW"), m.If(advance):
                m.d.sync += [shown.eq(0), place.eq(0), row.eq(row + 1)]
                m.d.sync += row_start.eq(row_start + command.row_beats)
                m.next = "SCALES"
                with m.If(command["values"]):
                    m.next = "BEATS"
                with m.If(last_row):
                    m.next = "COMMAND"
        return m
