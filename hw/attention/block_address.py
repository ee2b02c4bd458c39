"""Where a KV block lies on port 0. This file is the address arithmetic of docs/isa.md, "KV cache"."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.command import HEAD_BITS, SLOT_BITS
from hw.contract.config import BLOCK_POSITIONS, AccelConfig, ceil_div
from hw.watch import watch_stream

__all__ = ["BlockAddress", "block_query"]


def block_query(config: AccelConfig) -> data.StructLayout:
    """A block by slot, layer offset, KV head and block number."""
    blocks = ceil_div(config.max_positions, BLOCK_POSITIONS)
    return data.StructLayout({
        "slot": unsigned(SLOT_BITS),
        "layer": unsigned(config.address_bits),
        "head": unsigned(HEAD_BITS),
        "block": unsigned(max(1, (blocks - 1).bit_length())),
    })


class BlockAddress(wiring.Component):
    """Computes the address of a block.

    It is kv_base + slot * slot_stride + layer + head * head_stride + block * block_bytes, modulo the address width.

    One adder and a shifting addend: a bit of an index per clock. Addresses are asked for once per pass and once per row
    that is appended, which take more clocks themselves, so multipliers would be wasted.

    Latency: `latency` clocks from the query to `o`, whatever the numbers. The next query is taken when `o` is.

    Members:
        kv_base, slot_stride, head_stride, block_bytes: steady while a query is under way.
        i: block_query.
        o: byte address.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        width = config.address_bits
        super().__init__({
            "kv_base": In(width),
            "slot_stride": In(width),
            "head_stride": In(width),
            "block_bytes": In(width),
            "i": In(stream.Signature(block_query(config))),
            "o": Out(stream.Signature(unsigned(width))),
        })

    @property
    def latency(self) -> int:
        """Clocks from the query to the address."""
        return 1 + SLOT_BITS + HEAD_BITS + len(Signal(block_query(self.config)).block)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        watch_stream(m, platform, self.o, "o")
        query = Signal(block_query(self.config))
        total, addend = Signal(self.config.address_bits), Signal(self.config.address_bits)
        factors = ((query.slot, self.slot_stride), (query.head, self.head_stride), (query.block, self.block_bytes))
        names = ("SLOT", "HEAD", "BLOCK")
        count = Signal(range(64))
        m.d.comb += self.o.payload.eq(total)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [query.eq(self.i.payload), total.eq(self.kv_base + self.i.payload.layer)]
                m.d.sync += [addend.eq(self.slot_stride), count.eq(0)]
                with m.If(self.i.valid):
                    m.next = names[0]
            for n, (factor, _) in enumerate(factors):
                with m.State(names[n]):
                    m.d.sync += [factor.eq(factor >> 1), addend.eq(addend << 1), count.eq(count + 1)]
                    with m.If(factor[0]):
                        m.d.sync += total.eq(total + addend)
                    with m.If(count == len(factor) - 1):
                        m.d.sync += count.eq(0)
                        if n + 1 < len(factors):
                            m.d.sync += addend.eq(factors[n + 1][1])
                            m.next = names[n + 1]
                        else:
                            m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "IDLE"
        return m
