"""Where the new keys and values of a command go: their blocks in the KV cache."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.attention.block_address import block_query
from hw.attention.command import HEAD_BITS, attend_command, descriptor
from hw.contract.config import BLOCK_POSITIONS, AccelConfig
from hw.memory.kv_cache import kv_row
from hw.watch import watch_stream

__all__ = ["KvPlaces"]


class KvPlaces(wiring.Component):
    """The places of a command's rows in the order of `RowControl`: key, then value, of each KV head of each column.

    Cost: the latency of `BlockAddress` and two clocks for each KV head of a column, while the rows are quantised.

    Members:
        start: a command begins.
        idle: every place has been taken.
        command, columns, descriptors: steady until the last place has been taken.
        o_query, i_address: to and from `BlockAddress`.
        o: kv_row.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "start": In(1), "idle": Out(1),
            "command": In(attend_command(config)),
            "columns": In(range(config.columns + 1)),
            "descriptors": In(data.ArrayLayout(descriptor(config), config.columns)),
            "o_query": Out(stream.Signature(block_query(config))),
            "i_address": In(stream.Signature(config.address_bits)),
            "o": Out(stream.Signature(kv_row(config))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name in ("o_query", "o"):
            watch_stream(m, platform, getattr(self, name), name)
        column, head, here = Signal(self.config.column_bits), Signal(HEAD_BITS), Signal(descriptor(self.config))
        value = Signal()
        m.d.comb += [
            here.eq(self.descriptors[column]),
            self.o_query.payload.slot.eq(here.slot),
            self.o_query.payload.layer.eq(self.command.layer),
            self.o_query.payload.head.eq(head),
            self.o_query.payload.block.eq(here.position >> exact_log2(BLOCK_POSITIONS)),
            self.o.payload.block.eq(self.i_address.payload),
            self.o.payload.place.eq(here.position),
            self.o.payload.value.eq(value),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(1)
                m.d.sync += [column.eq(0), head.eq(0), value.eq(0)]
                with m.If(self.start):
                    m.next = "QUERY"
            with m.State("QUERY"):
                m.d.comb += self.o_query.valid.eq(1)
                with m.If(self.o_query.ready):
                    m.next = "PLACES"
            with m.State("PLACES"):
                m.d.comb += self.o.valid.eq(self.i_address.valid)
                with m.If(self.o.valid & self.o.ready):
                    m.d.sync += value.eq(~value)
                    with m.If(value):
                        m.d.comb += self.i_address.ready.eq(1)
                        m.d.sync += head.eq(head + 1)
                        m.next = "QUERY"
                        with m.If(head == self.command.kv_heads - 1):
                            m.d.sync += [head.eq(0), column.eq(column + 1)]
                            with m.If(column == self.columns - 1):
                                m.next = "IDLE"
        return m
