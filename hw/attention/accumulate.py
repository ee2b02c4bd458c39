"""This file keeps the attention output of each query head while its blocks come in, and divides it by the total."""

from __future__ import annotations

from amaranth.hdl import EnableInserter, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.softmax import WEIGHT_BITS
from hw.attention.weighted_values import value_sum_bits, value_sums
from hw.bound import bounded
from hw.contract.config import AccelConfig, ceil_div
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import column_values
from hw.delay import delayed
from hw.float.add import FloatAdd
from hw.float.from_int import IntToFloat
from hw.float.mul import FloatMul
from hw.float.rounding import BIAS
from hw.float.scale import scaled
from hw.watch import watch_stream

__all__ = ["Accumulate", "block_factors", "head_output"]


def block_factors(config: AccelConfig) -> data.StructLayout:
    """What a block does to the output of its head: a `softmax_result` without the weights.

    `alpha` is 0 in the first block of a head, `exponent` is E + 127; `inverse` counts in the last block only.
    """
    return data.StructLayout({
        "head": range(config.max_group),
        "alpha": FLOAT_BITS,
        "exponent": 8,
        "last_block": 1,
        "inverse": FLOAT_BITS,
    })


def head_output(config: AccelConfig) -> data.StructLayout:
    """V elements of the output of a head, in order; `last` marks its last word."""
    return data.StructLayout({"head": range(config.max_group), "values": column_values(config), "last": 1})


class Accumulate(wiring.Component):
    """Output of section 5 of docs/numerics.md: `acc = acc * alpha + F(sum) * 2^(E-14)` for each block of each head, and
    `out = acc * (1/l)` after a head's last block.

    A memory holds acc of `max_group` heads. alpha = 0 forgets what an earlier token left there. The blocks of several
    heads may come in any order; all blocks of a head have the same number of sums.

    Cycles: one word of V sums per clock. The next block is taken when the last word of this one is stored,
    `STORE_LATENCY` clocks after it was taken, or when the last output has been; the outputs of a last block come
    `LATENCY` clocks after their sums. An output that is not taken stops the whole pipeline.

    Members:
        factors: one word per block; it stays until the block is done.
        i: the exact sums of one block after the other.
        o: the outputs of each last block.
    """

    STORE_LATENCY = 1 + FloatMul.LATENCY + FloatAdd.LATENCY
    LATENCY = STORE_LATENCY + FloatMul.LATENCY

    def __init__(self, config: AccelConfig):
        self.config = config
        super().__init__({
            "factors": In(stream.Signature(block_factors(config))),
            "i": In(stream.Signature(value_sums(config))),
            "o": Out(stream.Signature(head_output(config))),
        })

    def elaborate(self, platform):
        m = Module()
        watch_stream(m, platform, self.o, "o")
        config, factors = self.config, self.factors.payload
        words = ceil_div(config.max_head_dim, config.vector)
        m.submodules.states = states = memory.Memory(
            shape=column_values(config), depth=config.max_group * words, init=[])
        write, read = states.write_port(), states.read_port()

        advance, taken, accepting = Signal(), Signal(), Signal()
        place = Signal(range(words))
        address = Signal(range(config.max_group * words))
        shift = Signal(signed(10))
        bounded(platform, shift, "shift of a block's output", "255 - 141", 255 - BIAS - 14, -BIAS - 14)
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(accepting & advance & self.factors.valid),
            taken.eq(self.i.valid & self.i.ready),
            address.eq(factors.head * words + place),
            read.addr.eq(address),
            read.en.eq(advance),
            shift.eq(factors.exponent - (BIAS + WEIGHT_BITS - 1)),
        ]
        with m.If(taken):
            m.d.sync += place.eq(Mux(self.i.payload.last, 0, place + 1))

        with m.If(advance):
            storing = delayed(m, taken, self.STORE_LATENCY, name="storing")
            storing_address = delayed(m, address, self.STORE_LATENCY, name="storing_address")
            last = delayed(m, taken & self.i.payload.last, self.STORE_LATENCY, name="last")
            leaving = delayed(m, storing & factors.last_block, FloatMul.LATENCY, name="leaving")
            leaving_last = delayed(m, last & factors.last_block, FloatMul.LATENCY, name="leaving_last")
        m.d.comb += [
            write.addr.eq(storing_address),
            write.en.eq(storing & advance),
            self.o.valid.eq(leaving),
            self.o.payload.last.eq(leaving_last),
            self.o.payload.head.eq(factors.head),
        ]
        for lane in range(config.vector):
            convert, decay = IntToFloat(value_sum_bits(config)), FloatMul()
            add, divide = FloatAdd(), FloatMul()
            for name, unit in (("convert", convert), ("decay", decay), ("add", add), ("divide", divide)):
                m.submodules[f"{name}_{lane}"] = EnableInserter(advance)(unit)
            block_output = scaled(m, convert.o, shift)
            with m.If(advance):
                block_output = delayed(
                    m, block_output, self.STORE_LATENCY - FloatAdd.LATENCY - IntToFloat.LATENCY, name=f"block_{lane}")
            m.d.comb += [
                convert.i.eq(self.i.payload.sums[lane]),
                decay.a.eq(read.data[lane]),
                decay.b.eq(factors.alpha),
                add.a.eq(decay.o),
                add.b.eq(block_output),
                write.data[lane].eq(add.o),
                divide.a.eq(add.o),
                divide.b.eq(factors.inverse),
                self.o.payload.values[lane].eq(divide.o),
            ]

        stored = Signal()
        m.d.comb += stored.eq(Mux(factors.last_block, leaving_last & self.o.ready, last & advance))
        with m.FSM():
            with m.State("sums"):
                m.d.comb += accepting.eq(1)
                with m.If(taken & self.i.payload.last):
                    m.next = "store"
            with m.State("store"), m.If(stored):
                m.d.comb += self.factors.ready.eq(1)
                m.next = "sums"
        return m
