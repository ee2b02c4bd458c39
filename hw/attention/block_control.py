"""The order in which attention reads blocks of keys and values, pass after pass."""

from __future__ import annotations

from amaranth.hdl import C, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.attention.block_address import block_query
from hw.attention.command import pass_job
from hw.attention.interfaces import output_job, softmax_job
from hw.bound import bounded
from hw.contract.config import BLOCK_POSITIONS, AccelConfig, ceil_div
from hw.contract.payloads import gather_request, kv_shape
from hw.dot.interfaces import block_item
from hw.streams import fork
from hw.watch import watch_stream

__all__ = ["BlockControl"]

PLACE_BITS = exact_log2(BLOCK_POSITIONS)


class BlockControl(wiring.Component):
    """Requests the blocks of every pass from memory, and tells each unit behind it what comes.

    The blocks of all passes of a command are numbered j = 0, 1, ... Their beats come in the order K_0, K_1, V_0, K_2,
    V_1, ..., V_n: the keys of the next block, also of the next pass, arrive while the softmax of a block is computed.
    A block whose positions the command itself appends is requested when memory has answered all writes.

    Of the last block of a pass, only the groups with positions of the pass are read (`KvLayout.read_beats`).

    Rules: a pass is taken when its queries are stored. `o_item` follows the order of the beats; `o_softmax` and
    `o_output` have one job per block, offered together with the request of its keys and its values. Each output goes
    into a queue, as `fork` needs it.

    Cost: two clocks per request, and about 30 per pass for its address. Requests run ahead of the beats.

    Members:
        start: a command begins.
        idle: the values of its last block have been requested.
        shape: kv_shape. head_stride and block_bytes of the command go to `BlockAddress` directly.
        written: memory has answered all writes of the command.
        rows_stored: a pulse for each query row that has been stored.
        i_pass: pass_job.
        o_query, i_address: to and from `BlockAddress`.
        o_read: gather_request of every port.
        o_item: block_item.
        o_softmax: softmax_job.
        o_output: output_job.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "start": In(1), "idle": Out(1),
            "shape": In(kv_shape(config)),
            "written": In(1), "rows_stored": In(1),
            "i_pass": In(stream.Signature(pass_job(config))),
            "o_query": Out(stream.Signature(block_query(config))),
            "i_address": In(stream.Signature(unsigned(config.address_bits))),
            "o_read": Out(stream.Signature(gather_request(config))),
            "o_item": Out(stream.Signature(block_item(config))),
            "o_softmax": Out(stream.Signature(softmax_job(config))),
            "o_output": Out(stream.Signature(output_job(config))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name in ("o_read", "o_item", "o_softmax", "o_output"):
            watch_stream(m, platform, getattr(self, name), name)
        config, shape = self.config, self.shape
        beat_bits, group_positions = exact_log2(config.beat_bytes), config.ports * config.kv_pairs
        job, stored = Signal(pass_job(config)), Signal(range(4 * config.query_rows + 1))
        block = Signal.like(self.o_query.payload.block)
        bounded(platform, block, "block", "ceil(max_positions / 64) - 1",
                ceil_div(config.max_positions, BLOCK_POSITIONS) - 1)
        record, address, following = Signal(2), Signal(config.address_bits), Signal(config.address_bits)
        last_block, positions = Signal(), Signal(range(BLOCK_POSITIONS + 1))
        own, waits = Signal(), Signal()  # the command appends to the block
        m.d.comb += [
            last_block.eq(block == job.top >> PLACE_BITS),
            positions.eq(Mux(last_block, job.top[:PLACE_BITS] + 1, BLOCK_POSITIONS)),
            own.eq(block >= job.first_own >> PLACE_BITS),
            following.eq(address + (shape.block_beats << beat_bits)),
            self.o_query.payload.slot.eq(job.slot),
            self.o_query.payload.head.eq(job.head),
            self.o_query.payload.block.eq(0),
        ]

        # The request of the keys under way, and that of the values which follow it.
        request = data.StructLayout({
            "read": gather_request(config), "item": block_item(config), "valid": 1})
        keys, values, next_values = Signal(request), Signal(request), Signal(request)
        output, next_output = Signal(output_job(config)), Signal(output_job(config))
        softmax = Signal(softmax_job(config))
        key_groups, value_groups = Signal.like(keys.item.groups), Signal.like(keys.item.groups)
        m.d.comb += [
            key_groups.eq((positions + group_positions - 1) >> exact_log2(group_positions)),
            value_groups.eq((positions + config.kv_elements - 1) >> exact_log2(config.kv_elements)),
        ]

        is_values, draining = Signal(), Signal()  # draining: the values of the last block of the command are left
        chosen = Signal(request)
        source = stream.Signature(1).create()
        fork(m, source, [
            (C(1), self.o_read), (C(1), self.o_item), (~is_values, self.o_softmax), (is_values, self.o_output)])
        m.d.comb += [
            chosen.eq(Mux(is_values, values.as_value(), keys.as_value())),
            self.o_read.payload.eq(chosen.read),
            self.o_item.payload.eq(chosen.item),
            self.o_softmax.payload.eq(softmax),
            self.o_output.payload.eq(output),
        ]
        m.d.sync += stored.eq(stored + self.rows_stored - Mux(self.i_pass.valid & self.i_pass.ready,
                                                              self.i_pass.payload.rows, 0))

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(1)
                m.d.sync += [values.valid.eq(0), draining.eq(0), record.eq(0)]
                with m.If(self.start):
                    m.next = "PASS"
            with m.State("PASS"):
                with m.If(stored >= self.i_pass.payload.rows):
                    m.d.comb += self.i_pass.ready.eq(1)
                m.d.sync += [job.eq(self.i_pass.payload), block.eq(0)]
                with m.If(self.i_pass.valid & self.i_pass.ready):
                    m.next = "QUERY"
            with m.State("QUERY"):
                m.d.comb += self.o_query.valid.eq(1)
                with m.If(self.o_query.ready):
                    m.next = "ADDRESS"
            with m.State("ADDRESS"):
                m.d.comb += self.i_address.ready.eq(1)
                m.d.sync += address.eq(self.i_address.payload)
                with m.If(self.i_address.valid):
                    m.next = "BLOCK"

            with m.State("BLOCK"):
                m.d.sync += [
                    keys.read.address.eq(address),
                    keys.read.beats.eq(key_groups * shape.key_group_beats),
                    keys.item["value"].eq(0), keys.item.bank.eq(record), keys.item.operands.eq(job.number),
                    keys.item.groups.eq(key_groups), keys.valid.eq(1), waits.eq(own),
                    next_values.read.address.eq(address + (shape.keys_beats << beat_bits)),
                    next_values.read.beats.eq(value_groups * shape.value_group_beats),
                    next_values.item["value"].eq(1), next_values.item.bank.eq(record),
                    next_values.item.groups.eq(value_groups), next_values.valid.eq(1),
                    softmax.bank.eq(record), softmax.record.eq(record), softmax.scale_bank.eq(job.number),
                    softmax["items"].eq(value_groups << exact_log2(config.kv_elements)),
                    softmax.sets.eq((job.rows + config.softmax_lanes - 1) // config.softmax_lanes),
                    softmax.first.eq(block == 0), softmax.last.eq(last_block),
                    next_output.bank.eq(record), next_output.record.eq(record), next_output.last.eq(last_block),
                    next_output.rows.eq(job.rows), next_output.words.eq(shape.value_group_beats),
                    next_output.column.eq(job.column), next_output.base.eq(job.base),
                ]
                for row in range(config.query_rows):
                    mine, whole = job.position[row], Signal(name=f"whole_{row}")
                    m.d.comb += whole.eq(block < mine >> PLACE_BITS)
                    partly = Mux(block == mine >> PLACE_BITS, mine[:PLACE_BITS] + 1, 0)
                    m.d.sync += softmax.valid[row].eq(Mux(row < job.rows, Mux(whole, BLOCK_POSITIONS, partly), 0))
                m.next = "KEYS"
            with m.State("KEYS"):
                m.d.comb += source.valid.eq(~waits | self.written)
                with m.If(source.valid & source.ready):
                    m.d.sync += [record.eq(record + 1), address.eq(following), block.eq(block + 1)]
                    m.next = "ADVANCE"
                    with m.If(values.valid):
                        m.next = "VALUES"
            with m.State("VALUES"):
                m.d.comb += [is_values.eq(1), source.valid.eq(1)]  # if they are new, their keys have waited
                with m.If(source.valid & source.ready):
                    m.next = "ADVANCE"
                    with m.If(draining):
                        m.next = "IDLE"
            with m.State("ADVANCE"):
                m.d.sync += [values.eq(next_values), output.eq(next_output)]
                m.next = "BLOCK"
                with m.If(softmax.last):
                    m.next = "PASS"
                    with m.If(job.last):
                        m.d.sync += draining.eq(1)
                        m.next = "VALUES"
        return m
