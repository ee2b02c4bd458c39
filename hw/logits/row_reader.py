"""This file takes the payload of a LM_HEAD packet apart: row scales, rows, padding."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.contract.config import AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import stream_beat

__all__ = ["LmHeadRowReader", "lm_head_extent", "row_beat"]


def lm_head_extent(config: AccelConfig) -> data.StructLayout:
    """Inputs `k` and rows `m` of an LM head, both at least 1."""
    return data.StructLayout({"k": range(config.max_hidden + 1), "m": range(config.max_vocab + 1)})


def row_beat(config: AccelConfig) -> data.StructLayout:
    """A beat of a row that counts: its place in the row, the lanes in use, and what belongs to the row."""
    return data.StructLayout({
        "beat": stream_beat(config),
        "address": range(max(2, -(-config.max_hidden // config.stream_bytes))),
        "lanes": unsigned(config.stream_bytes),
        "first": 1,
        "last": 1,
        "row": range(max(2, config.max_vocab)),
        "last_row": 1,
        "scale": FLOAT_BITS,
    })


class LmHeadRowReader(wiring.Component):
    """The beats of rows 0..m-1 of a LM_HEAD packet, each with its row scale; all other beats are consumed here.

    The payload comes in groups of beat/4 rows: a beat of float32 row scales, then the rows, each padded to a beat. Rows
    behind m in the last group are dropped. `lanes` is 0 for the padding of a row.

    Cycles: one to take the command, then one beat per clock; nothing is stored but the scales of the group, a row's
    beat leaves in the clock in which it comes.

    Members:
        i_command: extent of the packet.
        i_beats: its payload.
        o: beats of the rows that count.
        o_idle: between commands; the last beat of the payload has been consumed.
    """

    def __init__(self, config: AccelConfig):
        self.config = config
        super().__init__({
            "i_command": In(stream.Signature(lm_head_extent(config))),
            "i_beats": In(stream.Signature(stream_beat(config))),
            "o": Out(stream.Signature(row_beat(config))),
            "o_idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        size, group = config.stream_bytes, config.stream_bytes // 4
        word = self.o.payload

        last_row = Signal(word.row.shape())
        last_address = Signal(word.address.shape())
        last_lanes = Signal(unsigned(size))
        # Of a beat whose last byte in use is n, the lanes 0..n count.
        last_byte = Signal(range(config.max_hidden))
        m.d.comb += last_byte.eq(self.i_command.payload.k - 1)
        shift = exact_log2(size)

        scales = Signal(data.ArrayLayout(FLOAT_BITS, group))
        row, address = Signal(word.row.shape()), Signal(word.address.shape())
        row_in_group = Signal(range(group))
        behind = Signal()
        m.d.comb += [
            word.beat.eq(self.i_beats.payload),
            word.address.eq(address),
            word.first.eq(address == 0),
            word.last.eq(address == last_address),
            word.lanes.eq(Mux(word.last, last_lanes, (1 << size) - 1)),
            word.row.eq(row),
            word.last_row.eq(row == last_row),
            word.scale.eq(scales[row_in_group]),
        ]

        with m.FSM():
            with m.State("COMMAND"):
                m.d.comb += [self.o_idle.eq(1), self.i_command.ready.eq(1)]
                with m.If(self.i_command.valid):
                    m.d.sync += [
                        last_row.eq(self.i_command.payload.m - 1),
                        last_address.eq(last_byte >> shift),
                        *(last_lanes[n].eq(last_byte[:shift] >= n) for n in range(size)),
                        row.eq(0),
                        behind.eq(0),
                    ]
                    m.next = "SCALES"
            with m.State("SCALES"):
                m.d.comb += self.i_beats.ready.eq(1)
                with m.If(self.i_beats.valid):
                    # A float32 word holds the 25-bit code in its upper bits.
                    m.d.sync += [
                        scales[n].eq(self.i_beats.payload.as_value()[32 * (n + 1) - FLOAT_BITS:32 * (n + 1)])
                        for n in range(group)
                    ]
                    m.d.sync += [row_in_group.eq(0), address.eq(0)]
                    m.next = "ROWS"
            with m.State("ROWS"):
                m.d.comb += [
                    self.o.valid.eq(self.i_beats.valid & ~behind),
                    self.i_beats.ready.eq(self.o.ready | behind),
                ]
                with m.If(self.i_beats.valid & self.i_beats.ready):
                    m.d.sync += address.eq(address + 1)
                    with m.If(word.last):
                        m.d.sync += [
                            address.eq(0),
                            row.eq(row + 1),
                            row_in_group.eq(row_in_group + 1),
                            behind.eq(behind | word.last_row),
                        ]
                        with m.If(row_in_group == group - 1):
                            m.next = "SCALES"
                            with m.If(behind | word.last_row):
                                m.next = "COMMAND"
        return m
