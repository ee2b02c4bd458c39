"""Address of a table row: embedding rows by token, RoPE rows by position, rows of logits by number."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.watch import watch_stream

__all__ = ["RowAddress", "row_query"]

INDEX_BITS = 24


def row_query(config: AccelConfig) -> data.StructLayout:
    """Row `index` of a table at `base` with `stride` bytes per row."""
    return data.StructLayout({
        "base": unsigned(config.address_bits), "stride": unsigned(32), "index": unsigned(INDEX_BITS),
    })


class RowAddress(wiring.Component):
    """Computes base + index * stride, modulo the address width.

    It has one adder and processes one bit of the index per clock, because a row is read seldom.

    Rules: the next query is accepted when `o` has been.

    Latency: `LATENCY` clocks from the query to `o`, for all numbers.

    Members:
        i: row_query.
        o: the address.
    """

    LATENCY = INDEX_BITS + 1

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(row_query(config))),
            "o": Out(stream.Signature(unsigned(config.address_bits))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        watch_stream(m, platform, self.o, "o")
        total, addend = Signal(self.config.address_bits), Signal(self.config.address_bits)
        index, count = Signal(INDEX_BITS), Signal(range(INDEX_BITS))
        m.d.comb += self.o.payload.eq(total)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [total.eq(self.i.payload.base), addend.eq(self.i.payload.stride), count.eq(0)]
                m.d.sync += index.eq(self.i.payload.index)
                with m.If(self.i.valid):
                    m.next = "ADD"
            with m.State("ADD"):
                m.d.sync += [index.eq(index >> 1), addend.eq(addend << 1), count.eq(count + 1)]
                with m.If(index[0]):
                    m.d.sync += total.eq(total + addend)
                with m.If(count == INDEX_BITS - 1):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "IDLE"
        return m
