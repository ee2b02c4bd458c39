"""The order of attention: which head is read, which row is written, which block is fetched and played, and when."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.attention.block_address import HEAD_BITS, SLOT_BITS, block_query
from hw.attention.block_player import play
from hw.attention.head_reader import head_read
from hw.attention.query_memory import row_beats
from hw.attention.rope_rows import rope_words
from hw.bound import bounded
from hw.contract.config import BLOCK_POSITIONS, MAX_KV_HEADS, AccelConfig, ceil_div
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import gather_request
from hw.memory.kv_cache import kv_row
from hw.watch import watch, watch_stream

__all__ = ["AttentionControl", "attend_command", "descriptor"]


def descriptor(config: AccelConfig) -> data.StructLayout:
    """What a column works on: KV slot and absolute position."""
    return data.StructLayout({"slot": unsigned(SLOT_BITS), "position": range(config.max_positions)})


def attend_command(config: AccelConfig) -> data.StructLayout:
    """ATTEND in units of this machine: words of V, beats, bytes. `*_base` are words of the column."""
    return data.StructLayout({
        "group": range(config.max_group + 1),
        "kv_heads": unsigned(HEAD_BITS + 1),
        "half_words": range(rope_words(config) + 1),
        "row_beats": range(row_beats(config) + 1),
        "q_base": unsigned(config.word_bits),
        "k_base": unsigned(config.word_bits),
        "v_base": unsigned(config.word_bits),
        "softmax_scale": unsigned(FLOAT_BITS),
        "head_stride": unsigned(config.address_bits),
        "layer": unsigned(config.address_bits),
    })


class AttentionControl(wiring.Component):
    """One state machine, three loops: append (column, KV head, key or value), then query (column, KV head) and play
    (block, query head).

    Rules: one command at a time. Everything it commands is a stream, so no unit's latency is known here. A group's
    query memory and a block's memory are reused only when the last head that reads them has put out its last word.

    Members:
        columns, descriptors: the columns of the pass, with slot and position of each.
        i: attend_command.
        o_read, o_block, o_row, o_load, o_play: commands of the units.
        i_address: block addresses.
        written: KV rows and their answers are all in.
        query_stored: one query row is stored.
        loaded: a block is loaded.
        head_done: last output word of a head.
        clear_queries: a new group begins in the query memory.
        next_column: a pulse before each column.
        done: the command has ended.
        appending, column, head, first_block, last_block: what is under way.
        softmax_scale, head_stride, block_bytes: values of the command.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "columns": In(range(config.columns + 1)),
            "descriptors": In(data.ArrayLayout(descriptor(config), config.columns)),
            "i": In(stream.Signature(attend_command(config))),
            "o_read": Out(stream.Signature(head_read(config))),
            "o_block": Out(stream.Signature(block_query(config))),
            "i_address": In(stream.Signature(unsigned(config.address_bits))),
            "o_row": Out(stream.Signature(kv_row(config))),
            "o_load": Out(stream.Signature(gather_request(config))),
            "o_play": Out(stream.Signature(play(config))),
            "written": In(1), "query_stored": In(1), "loaded": In(1), "head_done": In(1),
            "clear_queries": Out(1), "next_column": Out(1), "done": Out(1),
            "appending": Out(1),
            "column": Out(config.column_bits),
            "head": Out(range(config.max_group)),
            "first_block": Out(1), "last_block": Out(1),
            "softmax_scale": Out(FLOAT_BITS),
            "head_stride": Out(config.address_bits), "block_bytes": Out(config.address_bits),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name in ("o_read", "o_block", "o_row", "o_load", "o_play"):
            watch_stream(m, platform, getattr(self, name), name)
        config = self.config
        beat_shift = exact_log2(config.beat_bytes)
        command = Signal(attend_command(config))
        kv_head, kind = Signal(HEAD_BITS), Signal()
        block, read_base, stored = Signal.like(self.o_block.payload.block), Signal(config.word_bits), Signal(8)
        finished = Signal(range(config.max_group + 1))
        here = Signal(descriptor(config))
        last_position_block, head_words = Signal.like(block), Signal(config.word_bits)
        rows = Signal(range(BLOCK_POSITIONS + 1))
        last_column, last_kv_head, last_head = Signal(), Signal(), Signal()
        row_bytes = Signal(16)
        block_shift = exact_log2(BLOCK_POSITIONS)
        place = here.position[:block_shift]
        m.d.comb += [
            here.eq(self.descriptors[self.column]),
            last_position_block.eq(here.position >> block_shift),
            self.first_block.eq(block == 0),
            self.last_block.eq(block == last_position_block),
            rows.eq(Mux(self.last_block, place + 1, BLOCK_POSITIONS)),
            head_words.eq(command.half_words << 1),
            row_bytes.eq(command.row_beats << beat_shift),
            last_column.eq(self.column == self.columns - 1),
            last_kv_head.eq(kv_head == command.kv_heads - 1),
            last_head.eq(self.head == command.group - 1),
            self.softmax_scale.eq(command.softmax_scale),
            self.head_stride.eq(command.head_stride),
            self.block_bytes.eq(BLOCK_POSITIONS * 8 + (row_bytes << 5)),  # scales, 16 keys, 16 values

            self.o_read.payload.column.eq(self.column),
            self.o_read.payload.base.eq(read_base),
            self.o_read.payload.half_words.eq(command.half_words),
            self.o_read.payload.rotate.eq(~(self.appending & kind)),
            self.o_block.payload.slot.eq(here.slot),
            self.o_block.payload.layer.eq(command.layer),
            self.o_block.payload.head.eq(kv_head),
            self.o_block.payload.block.eq(Mux(self.appending, last_position_block, block)),
            self.o_row.payload.block.eq(self.i_address.payload),
            self.o_row.payload.place.eq(place),
            self.o_row.payload.row_bytes.eq(row_bytes),
            self.o_row.payload.value.eq(kind),
            self.o_load.payload.address.eq(self.i_address.payload),
            self.o_load.payload.beats.eq(self.block_bytes >> beat_shift),
            self.o_play.payload.head.eq(self.head),
            self.o_play.payload.rows.eq(rows),
            self.o_play.payload.row_beats.eq(command.row_beats),
        ]
        self._bounds(m, platform, stored, finished, row_bytes)
        with m.If(self.query_stored):
            m.d.sync += stored.eq(stored + 1)
        with m.If(self.head_done):
            m.d.sync += finished.eq(finished + 1)

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [command.eq(self.i.payload), self.column.eq(0), kv_head.eq(0), kind.eq(0)]
                m.d.sync += [read_base.eq(self.i.payload.k_base), self.appending.eq(1)]
                with m.If(self.i.valid):
                    m.next = "APPEND READ"

            with m.State("APPEND READ"):
                m.d.comb += self.o_read.valid.eq(1)
                with m.If(self.o_read.ready):
                    m.next = "APPEND ADDRESS"
            with m.State("APPEND ADDRESS"):
                m.d.comb += self.o_block.valid.eq(1)
                with m.If(self.o_block.ready):
                    m.next = "APPEND ROW"
            with m.State("APPEND ROW"):
                m.d.comb += [self.o_row.valid.eq(self.i_address.valid), self.i_address.ready.eq(self.o_row.ready)]
                with m.If(self.i_address.valid & self.o_row.ready):
                    m.d.sync += [read_base.eq(read_base + head_words), kv_head.eq(kv_head + 1)]
                    m.next = "APPEND READ"
                    with m.If(last_kv_head):  # all keys of a column, then all its values
                        m.d.sync += [kv_head.eq(0), kind.eq(~kind)]
                        m.d.sync += read_base.eq(Mux(kind, command.k_base, command.v_base))
                        with m.If(kind):
                            m.d.sync += self.column.eq(self.column + 1)
                            with m.If(last_column):
                                m.next = "WRITTEN"
            with m.State("WRITTEN"), m.If(self.written):
                m.d.sync += [self.appending.eq(0), self.column.eq(0), read_base.eq(command.q_base)]
                m.d.comb += self.next_column.eq(1)
                m.next = "GROUP"

            with m.State("GROUP"):
                m.d.comb += self.clear_queries.eq(1)
                m.d.sync += [self.head.eq(0), stored.eq(0), block.eq(0), finished.eq(0)]
                m.next = "QUERY READ"
            with m.State("QUERY READ"):
                m.d.comb += self.o_read.valid.eq(1)
                with m.If(self.o_read.ready):
                    m.d.sync += [read_base.eq(read_base + head_words), self.head.eq(self.head + 1)]
                    with m.If(last_head):
                        m.d.sync += self.head.eq(0)
                        m.next = "QUERIES"
            with m.State("QUERIES"), m.If(stored == command.group):
                m.next = "BLOCK ADDRESS"

            with m.State("BLOCK ADDRESS"):
                m.d.comb += self.o_block.valid.eq(1)
                with m.If(self.o_block.ready):
                    m.next = "BLOCK LOAD"
            with m.State("BLOCK LOAD"):
                m.d.comb += [self.o_load.valid.eq(self.i_address.valid), self.i_address.ready.eq(self.o_load.ready)]
                with m.If(self.loaded):
                    m.next = "KEYS"
            with m.State("KEYS"):
                m.d.comb += self.o_play.valid.eq(1)
                with m.If(self.o_play.ready):
                    m.next = "VALUES"
            with m.State("VALUES"):
                m.d.comb += [self.o_play.valid.eq(1), self.o_play.payload["values"].eq(1)]
                with m.If(self.o_play.ready):
                    m.next = "PLAYED"
            with m.State("PLAYED"):
                with m.If(self.o_play.ready):  # the player is free: its last beat has been taken
                    m.d.sync += self.head.eq(self.head + 1)
                    m.next = "KEYS"
                    with m.If(last_head):
                        m.d.sync += [self.head.eq(0), block.eq(block + 1)]
                        m.next = "BLOCK ADDRESS"
                        with m.If(self.last_block):
                            m.next = "HEADS"
            with m.State("HEADS"), m.If(finished == command.group):
                m.d.sync += kv_head.eq(kv_head + 1)
                m.next = "GROUP"
                with m.If(last_kv_head):
                    m.d.sync += [kv_head.eq(0), self.column.eq(self.column + 1), read_base.eq(command.q_base)]
                    m.d.comb += self.next_column.eq(1)
                    with m.If(last_column):
                        m.d.comb += self.done.eq(1)
                        m.next = "IDLE"
        return m

    def _bounds(self, m: Module, platform: object, stored: Signal, finished: Signal, row_bytes: Signal) -> None:
        """Watches the counters, and declares their bounds and those of the commands that this unit makes."""
        config, block = self.config, self.o_block.payload
        row = config.max_head_dim * config.kv_bytes
        watch(m, platform, stored <= config.max_group, "{} query rows are stored", stored)
        watch(m, platform, finished <= config.max_group, "{} heads are done", finished)
        bounded(platform, stored, "query rows stored", "max_group", config.max_group)
        bounded(platform, finished, "query heads finished", "max_group", config.max_group)
        bounded(platform, block.block, "block", "ceil(max_positions / 16) - 1",
                ceil_div(config.max_positions, BLOCK_POSITIONS) - 1)
        bounded(platform, block.head, "KV head", "255", MAX_KV_HEADS - 1)
        bounded(platform, row_bytes, "bytes of a row", "max_head_dim bytes of L", row)
        bounded(platform, self.o_row.payload.row_bytes, "bytes of a row to write", "max_head_dim bytes of L", row)
        bounded(platform, self.o_play.payload.row_beats, "beats of a row", "max_head_dim bytes of L / beat",
                ceil_div(row, config.beat_bytes))
        bounded(platform, self.o_load.payload.beats, "beats of a block", "16 (8 + 2 row bytes) / beat",
                config.kv_block_bytes(config.max_head_dim) // config.beat_bytes)
