"""Leads attention: from the command to the rows, blocks and jobs of the units."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.attention.block_address import BlockAddress
from hw.attention.block_control import BlockControl
from hw.attention.block_schedule import BlockSchedule
from hw.attention.command import attend_command, derive_shape, descriptor, pass_job
from hw.attention.interfaces import output_job, row_command, softmax_job
from hw.attention.kv_places import KvPlaces
from hw.attention.row_control import RowControl
from hw.contract.config import AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import gather_request, kv_shape
from hw.dot.interfaces import block_item
from hw.memory.kv_cache import kv_row
from hw.streams import Queue

__all__ = ["AttentionControl"]

STEPS = ("keys_done", "weights_done", "record_done", "values_done", "read_done", "outputs_done")
"""What the units report of a block, and at last of a pass."""

SHAPE_LATENCY = 4
"""Clocks until what is derived from the length of a head is there."""


class AttentionControl(wiring.Component):
    """Wires the parts of the control, and begins and ends a command.

        command -> RowControl --> o_row, rows of the scratchpad
                   KvPlaces ----> o_place, where new keys and values go
                       | passes
                   BlockControl -> o_read, requests of every memory port
                       | jobs
                   BlockSchedule -> o_item, o_softmax, o_output

    Rules: one command at a time. `columns` and `descriptors` are steady until `done`.

    Latency: SHAPE_LATENCY + 2 clocks from a command to the first row.

    Members:
        i: attend_command.
        columns, descriptors: the columns of the pass over the weights, with slot and position of each.
        kv_base, slot_stride: registers.
        append_idle: every row of keys and values that was begun has been written, and memory has answered.
        row_stored: a pulse for each query row in the operand memory.
        keys_done, weights_done, record_done, values_done, read_done, outputs_done: as of `BlockSchedule`.
        o_row, o_place, o_read, o_item, o_softmax, o_output: commands of the units.
        shape, softmax_scale: of the command under way.
        done: a pulse at the end of a command.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(attend_command(config))),
            "columns": In(range(config.columns + 1)),
            "descriptors": In(data.ArrayLayout(descriptor(config), config.columns)),
            "kv_base": In(config.address_bits), "slot_stride": In(config.address_bits),
            "append_idle": In(1), "row_stored": In(1),
            **{name: In(1) for name in STEPS},
            "o_row": Out(stream.Signature(row_command(config))),
            "o_place": Out(stream.Signature(kv_row(config))),
            "o_read": Out(stream.Signature(gather_request(config))),
            "o_item": Out(stream.Signature(block_item(config))),
            "o_softmax": Out(stream.Signature(softmax_job(config))),
            "o_output": Out(stream.Signature(output_job(config))),
            "shape": Out(kv_shape(config)), "softmax_scale": Out(unsigned(FLOAT_BITS)),
            "done": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.rows = rows = RowControl(config)
        m.submodules.places = places = KvPlaces(config)
        m.submodules.blocks = blocks = BlockControl(config)
        m.submodules.schedule = schedule = BlockSchedule(config)
        m.submodules.place_address = place_address = BlockAddress(config)
        m.submodules.pass_address = pass_address = BlockAddress(config)
        m.submodules.passes = passes = Queue(pass_job(config), 2)
        m.submodules.reads = reads = Queue(gather_request(config), 2)

        command, written, start = Signal(attend_command(config)), Signal(), Signal()
        shape, padded_words = derive_shape(m, config, command.half_words)
        for unit in (rows, places):
            m.d.comb += [
                unit.start.eq(start), unit.command.eq(command), unit.columns.eq(self.columns),
                unit.descriptors.eq(self.descriptors),
            ]
        for unit, client in ((place_address, places), (pass_address, blocks)):
            wiring.connect(m, client.o_query, unit.i)
            wiring.connect(m, unit.o, client.i_address)
            m.d.comb += [
                unit.kv_base.eq(self.kv_base), unit.slot_stride.eq(self.slot_stride),
                unit.head_stride.eq(command.head_stride),
                unit.block_bytes.eq(shape.block_beats << exact_log2(config.beat_bytes)),
            ]
        m.d.comb += [pass_address.i.payload.layer.eq(command.layer), place_address.i.payload.layer.eq(command.layer)]
        wiring.connect(m, rows.o_pass, passes.i)
        wiring.connect(m, passes.o, blocks.i_pass)
        for name in ("item", "softmax", "output"):
            wiring.connect(m, getattr(blocks, f"o_{name}"), getattr(schedule, f"i_{name}"))
            wiring.connect(m, getattr(schedule, f"o_{name}"), wiring.flipped(getattr(self, f"o_{name}")))
        for name in STEPS:
            m.d.comb += getattr(schedule, name).eq(getattr(self, name))
        wiring.connect(m, rows.o_row, wiring.flipped(self.o_row))
        wiring.connect(m, places.o, wiring.flipped(self.o_place))
        wiring.connect(m, blocks.o_read, reads.i)
        wiring.connect(m, reads.o, wiring.flipped(self.o_read))
        m.d.comb += [
            rows.padded_words.eq(padded_words),
            rows.keys_done.eq(schedule.queries_done),
            blocks.start.eq(start),
            blocks.shape.eq(shape),
            blocks.written.eq(written),
            blocks.rows_stored.eq(self.row_stored),
            self.shape.eq(shape),
            self.softmax_scale.eq(command.softmax_scale),
        ]

        settle = Signal(range(SHAPE_LATENCY + 1))
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [command.eq(self.i.payload), settle.eq(0), written.eq(0)]
                with m.If(self.i.valid):
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                m.d.sync += settle.eq(settle + 1)
                with m.If(settle == SHAPE_LATENCY):
                    m.d.comb += start.eq(1)
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.sync += written.eq(written | rows.appended & places.idle & self.append_idle)
                with m.If(rows.idle & written & blocks.idle & ~passes.o.valid & schedule.idle):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"
        return m
