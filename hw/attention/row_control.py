"""The order in which attention reads rows of the scratchpad: queries of the first pass, keys and values, other queries.
"""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.command import HEAD_BITS, attend_command, descriptor, pass_job
from hw.attention.interfaces import RowKind, row_command
from hw.contract.config import AccelConfig
from hw.dot.interfaces import row_words
from hw.watch import watch, watch_stream

__all__ = ["RowControl"]

OPEN_PASSES = 2
"""Operand banks of the queries."""


class RowControl(wiring.Component):
    """Divides a command into passes, and commands the rows of the scratchpad in the order in which they are needed.

    The queries of the first pass come first, so that the blocks of earlier positions can be read while the keys and
    values of the columns, which come next, are quantised and written. The queries of a later pass are commanded as soon
    as an operand bank is free.

    A pass takes the next D query rows of a KV head: the heads of the group of a column, then those of the next column
    of the same slot. Columns of one slot are consecutive, with ascending positions.

    Rules: `start` is pulsed while `idle` is high; the command, `columns`, `descriptors` and `padded_words` are steady
    until `idle` is high again. A pass is offered on `o_pass` when its rows have been commanded.

    Cost: a clock for each row, and two for each pass.

    Members:
        start: a command begins.
        idle: everything has been commanded.
        appended: all keys and values have been commanded.
        command: attend_command.
        padded_words: words of V of a row, padded to whole beats.
        columns, descriptors: columns in use, with slot and position.
        keys_done: all keys of a pass have been used: its operand bank is free.
        o_row: row_command.
        o_pass: pass_job.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "start": In(1), "idle": Out(1), "appended": Out(1),
            "command": In(attend_command(config)),
            "padded_words": In(range(row_words(config) + 1)),
            "columns": In(range(config.columns + 1)),
            "descriptors": In(data.ArrayLayout(descriptor(config), config.columns)),
            "keys_done": In(1),
            "o_row": Out(stream.Signature(row_command(config))),
            "o_pass": Out(stream.Signature(pass_job(config))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name in ("o_row", "o_pass"):
            watch_stream(m, platform, getattr(self, name), name)
        config, command = self.config, self.command
        column, kv_head, head = Signal(config.column_bits), Signal(HEAD_BITS), Signal(range(config.max_group))
        query, kv_row = Signal(config.word_bits), Signal(config.word_bits)  # first words: from q_base, of the column
        own_column, own_head, value = Signal(config.column_bits), Signal(HEAD_BITS), Signal()  # of the rows to append
        offset = Signal(config.word_bits)
        here, following, row = Signal(descriptor(config)), Signal(descriptor(config)), Signal(range(config.query_rows))
        last_head, last_column, last_kv_head, ends_pass, changes_slot = (
            Signal(name=name) for name in ("last_head", "last_column", "last_kv_head", "ends_pass", "changes_slot"))
        appended, open_passes = self.appended, Signal(range(OPEN_PASSES + 1))
        first_own, kind = Signal.like(self.o_pass.payload.first_own), Signal(RowKind)
        head_words, group_base = Signal(config.word_bits), Signal(config.word_bits)
        job = self.o_pass.payload
        m.d.comb += [
            here.eq(self.descriptors[column]),
            following.eq(self.descriptors[(column + 1)[: config.column_bits]]),
            last_head.eq(head == command.group - 1),
            last_column.eq(column == self.columns - 1),
            last_kv_head.eq(kv_head == command.kv_heads - 1),
            changes_slot.eq(last_column | (following.slot != here.slot)),
            ends_pass.eq((row == config.query_rows - 1) | (last_head & changes_slot)),
            head_words.eq(command.half_words << 1),
            kv_row.eq(Mux(value, command.v_base, command.k_base) + offset),
            self.o_row.payload.kind.eq(kind),
            self.o_row.payload.column.eq(column),
            self.o_row.payload.base.eq(Mux(kind == RowKind.QUERY, command.q_base + query, kv_row)),
            self.o_row.payload.half_words.eq(command.half_words),
            self.o_row.payload.padded_words.eq(self.padded_words),
            self.o_row.payload.row.eq(row),
            self.o_row.payload.bank.eq(job.number),
            self.o_row.payload.scale_bank.eq(job.number),
            kind.eq(RowKind.QUERY),
        ]
        m.d.sync += open_passes.eq(
            open_passes + (self.o_pass.valid & self.o_pass.ready) - (self.keys_done & (open_passes != 0)))
        watch(m, platform, ~self.keys_done | (open_passes != 0), "a pass ends that was not begun")

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(1)
                m.d.sync += [column.eq(0), kv_head.eq(0), head.eq(0)]
                with m.If(self.start):
                    m.d.sync += [appended.eq(0), job.number.eq(0)]
                    m.d.sync += [query.eq(0), group_base.eq(0)]
                    m.d.sync += first_own.eq(self.descriptors[0].position)
                    m.next = "PASS"

            with m.State("PASS"):
                m.d.sync += [row.eq(0), job.slot.eq(here.slot), job.head.eq(kv_head), job.first_own.eq(first_own)]
                m.d.sync += [job.position[n].eq(0) for n in range(config.query_rows)]
                with m.If(open_passes != OPEN_PASSES):
                    m.next = "QUERY"
            with m.State("QUERY"):
                m.d.comb += self.o_row.valid.eq(1)
                with m.If(self.o_row.ready):
                    m.d.sync += [
                        job.position[row].eq(here.position), job.column[row].eq(column), job.base[row].eq(query),
                        job.top.eq(here.position), job.rows.eq(row + 1), row.eq(row + 1),
                        head.eq(head + 1), query.eq(query + head_words),
                    ]
                    with m.If(last_head):
                        m.d.sync += [head.eq(0), column.eq(column + 1), query.eq(group_base)]
                        with m.If(changes_slot):
                            m.d.sync += first_own.eq(following.position)
                        with m.If(last_column):
                            m.d.sync += [
                                column.eq(0), kv_head.eq(kv_head + 1), query.eq(query + head_words),
                                group_base.eq(query + head_words), first_own.eq(self.descriptors[0].position),
                            ]
                    m.d.sync += job.last.eq(last_head & last_column & last_kv_head)
                    with m.If(ends_pass):
                        m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += self.o_pass.valid.eq(1)
                with m.If(self.o_pass.ready):
                    m.d.sync += job.number.eq(job.number + 1)
                    m.next = "PASS"
                    with m.If(~appended):
                        m.next = "APPEND"
                    with m.Elif(job.last):
                        m.next = "IDLE"

            with m.State("APPEND"):  # key, value of each KV head of each column
                m.d.comb += [self.o_row.valid.eq(1), kind.eq(Mux(value, RowKind.VALUE, RowKind.KEY))]
                m.d.comb += self.o_row.payload.column.eq(own_column)
                with m.If(self.o_row.ready):
                    m.d.sync += value.eq(~value)
                    with m.If(value):
                        m.d.sync += [own_head.eq(own_head + 1), offset.eq(offset + head_words)]
                        with m.If(own_head == command.kv_heads - 1):
                            m.d.sync += [own_head.eq(0), offset.eq(0), own_column.eq(own_column + 1)]
                            with m.If(own_column == self.columns - 1):
                                m.d.sync += [appended.eq(1), own_column.eq(0)]
                                m.next = "PASS"
                                with m.If(job.last):
                                    m.next = "IDLE"
        return m
