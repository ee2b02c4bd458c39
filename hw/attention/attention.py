"""Attention of all columns: append to the KV cache, read it back. This file wires; AttentionControl leads."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.attention_control import AttentionControl
from hw.attention.command import attend_command, descriptor
from hw.attention.head_outputs import HeadOutputs
from hw.attention.rope_rows import rope_read
from hw.attention.row_feed import RowFeed
from hw.attention.softmax import BlockSoftmax
from hw.contract.config import AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import gather_request, stream_beat, vector_word, write_beat, write_request
from hw.dot.clients import attention_dots
from hw.memory.kv_cache import KvAppend
from hw.memory.scratchpad import scratchpad_read

__all__ = ["Attention"]


class Attention(wiring.Component):
    """Section 5 of docs/numerics.md for every column in use.

        scratchpad -> RowFeed -> KvAppend -> memory
                          | queries
        memory -> dots -> BlockSoftmax (weights go back to dots) -> HeadOutputs -> scratchpad

    D query rows (query heads of columns of one slot) share each beat of keys and values, so the cache of a KV head is
    read ceil(group * columns / D) times, at a beat of every memory port per clock. Keys and values of the columns are
    written first, and the blocks that hold them are read when memory has answered; so keys and values of the same chunk
    are used as they are stored.

    Cost in clocks, unstalled: the beats of `KvLayout.read_beats` for each pass (`RowControl`), or where it is more, the
    softmax of its rows (`BlockSoftmax`) or their outputs (`HeadOutputs`); and the latency of one block from the last
    key to the last output. Reading the rows takes a clock per word of V elements, beside the passes but for the first.

    Members:
        columns: columns in use, 1 to T.
        descriptors: slot and position of each column; steady while busy.
        factors: value of one sum of the values' BitLinear, per column; steady while busy. Not used with 8-bit values.
        kv_base, slot_stride, kv_port_stride: registers.
        i: attend_command.
        done: a pulse after the last output word was taken.
        read: read port of the scratchpad; it belongs to this unit while it is busy.
        rope: read port of the RoPE rows; likewise.
        o_read: gather_request of every port.
        i_beats: their beats.
        o_request_<n>, o_write_<n>: KV writes of port n.
        write_idle: all KV writes are answered.
        dots: the dot products (`BlockDots`).
        o: vector_word of the outputs, index from 0 in each column.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "columns": In(range(config.columns + 1)),
            "descriptors": In(data.ArrayLayout(descriptor(config), config.columns)),
            "factors": In(data.ArrayLayout(FLOAT_BITS, config.columns)),
            "kv_base": In(config.address_bits),
            "slot_stride": In(config.address_bits), "kv_port_stride": In(config.address_bits),
            "i": In(stream.Signature(attend_command(config))),
            "done": Out(1),
            "read": Out(scratchpad_read(config)),
            "rope": Out(rope_read(config)),
            "o_read": Out(stream.Signature(gather_request(config))),
            "i_beats": In(stream.Signature(stream_beat(config))),
            **{f"o_request_{n}": Out(stream.Signature(write_request(config))) for n in range(config.ports)},
            **{f"o_write_{n}": Out(stream.Signature(write_beat(config))) for n in range(config.ports)},
            "write_idle": In(1),
            "dots": Out(attention_dots(config)),
            "o": Out(stream.Signature(vector_word(config))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, dots = self.config, self.dots
        m.submodules.control = control = AttentionControl(config)
        m.submodules.rows = rows = RowFeed(config)
        m.submodules.append = append = KvAppend(config)
        m.submodules.softmax = softmax = BlockSoftmax(config)
        m.submodules.outputs = outputs = HeadOutputs(config)

        # commands and reports
        wiring.connect(m, wiring.flipped(self.i), control.i)
        for command, unit in (
            (control.o_row, rows.i), (control.o_place, append.i_row), (control.o_item, wiring.flipped(dots.item)),
            (control.o_softmax, softmax.i), (control.o_output, outputs.i),
        ):
            wiring.connect(m, command, unit)
        m.d.comb += [
            control.columns.eq(self.columns), control.descriptors.eq(self.descriptors),
            control.kv_base.eq(self.kv_base), control.slot_stride.eq(self.slot_stride),
            control.append_idle.eq(append.idle & self.write_idle),
            control.keys_done.eq(dots.keys_done.valid), control.values_done.eq(dots.values_done.valid),
            control.weights_done.eq(softmax.weights_done), control.record_done.eq(softmax.record_done),
            control.read_done.eq(outputs.read_done), control.outputs_done.eq(outputs.done),
            dots.shape.eq(control.shape), append.shape.eq(control.shape),
            append.port_stride.eq(self.kv_port_stride),
            self.done.eq(control.done),
        ]

        # scratchpad -> keys, values, queries
        wiring.connect(m, rows.read, wiring.flipped(self.read))
        wiring.connect(m, rows.rope, wiring.flipped(self.rope))
        wiring.connect(m, rows.o_kv, append.i)
        wiring.connect(m, rows.o_query, wiring.flipped(dots.query))
        query, stored = rows.o_query.payload, rows.o_query.valid & rows.o_query.ready & rows.o_query.payload.last
        m.d.comb += [
            rows.softmax_scale.eq(control.softmax_scale), rows.factors.eq(self.factors),
            control.row_stored.eq(stored),
            softmax.i_scale.valid.eq(stored),
            softmax.i_scale.payload.bank.eq(query.scale_bank),
            softmax.i_scale.payload.row.eq(query.row),
            softmax.i_scale.payload.scale.eq(query.scale),
        ]
        for n in range(config.ports):
            wiring.connect(m, getattr(append, f"o_request_{n}"), wiring.flipped(getattr(self, f"o_request_{n}")))
            wiring.connect(m, getattr(append, f"o_{n}"), wiring.flipped(getattr(self, f"o_write_{n}")))

        # memory -> dot products -> weights -> outputs
        wiring.connect(m, control.o_read, wiring.flipped(self.o_read))
        wiring.connect(m, wiring.flipped(self.i_beats), wiring.flipped(dots.beats))
        wiring.connect(m, softmax.o_weights, wiring.flipped(dots.weights))
        wiring.connect(m, softmax.sums, wiring.flipped(dots.scores))
        wiring.connect(m, softmax.scales, wiring.flipped(dots.scales))
        wiring.connect(m, outputs.sums, wiring.flipped(dots.values))
        wiring.connect(m, outputs.record, softmax.record)
        wiring.connect(m, outputs.o, wiring.flipped(self.o))
        return m
