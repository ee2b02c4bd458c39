"""Conversion of the array's exact sums to machine floats, and the product with the scale of a BitLinear."""

from __future__ import annotations

from amaranth.hdl import Cat, EnableInserter, Module, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import acc_word, vector_word
from hw.delay import delayed
from hw.float.from_int import IntToFloat
from hw.float.mul import FloatMul
from hw.watch import watch_stream

__all__ = ["Rescale", "column_factor"]


def column_factor(config: AccelConfig) -> data.StructLayout:
    """One entry of the factor table: activation scale times weight scale of a column, a 25-bit code."""
    return data.StructLayout({"column": config.column_bits, "factor": FLOAT_BITS})


class Rescale(wiring.Component):
    """Computes out = F(sum) * factor of the column, with two roundings (docs/numerics.md, section 4).

        i -> IntToFloat ----------------> FloatMul -> o
        |                                    ^
        +-> factor table -> delay -----------+
                 ^ i_factor

    Rules: the factor of a word is read when the word is accepted. A factor applies to words that are accepted in the
    clocks after its write; words in the pipeline keep the factor before. Factors are zero until written. A word that is
    not accepted at `o` stops the whole pipeline.

    Latency: `LATENCY` clocks. Throughput: one word per clock.

    Members:
        i_factor, i_factor_en: write an entry of the factor table, at any time.
        i: sums of the array.
        o: the same words as floats.
    """

    LATENCY = IntToFloat.LATENCY + FloatMul.LATENCY

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i_factor": In(column_factor(config)),
            "i_factor_en": In(1),
            "i": In(stream.Signature(acc_word(config))),
            "o": Out(stream.Signature(vector_word(config))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        watch_stream(m, platform, self.o, "o")
        config = self.config
        advance = Signal()
        m.d.comb += [advance.eq(~self.o.valid | self.o.ready), self.i.ready.eq(advance)]

        m.submodules.factors = factors = memory.Memory(shape=FLOAT_BITS, depth=2**config.column_bits, init=[])
        write, read = factors.write_port(), factors.read_port()
        m.d.comb += [
            write.en.eq(self.i_factor_en),
            write.addr.eq(self.i_factor.column),
            write.data.eq(self.i_factor.factor),
            read.en.eq(advance),
            read.addr.eq(self.i.payload.column),
        ]

        place = Cat(self.i.valid, self.i.payload.column, self.i.payload.index)
        with m.If(advance):
            factor = delayed(m, read.data, IntToFloat.LATENCY - 1, name="factor")
            place = delayed(m, place, self.LATENCY, name="place")
        m.d.comb += Cat(self.o.valid, self.o.payload.column, self.o.payload.index).eq(place)

        for lane in range(config.vector):
            convert, multiply = IntToFloat(config.accumulator_bits), FloatMul()
            m.submodules[f"convert_{lane}"] = EnableInserter(advance)(convert)
            m.submodules[f"multiply_{lane}"] = EnableInserter(advance)(multiply)
            m.d.comb += [
                convert.i.eq(self.i.payload.sums[lane]),
                multiply.a.eq(convert.o),
                multiply.b.eq(factor),
                self.o.payload.values[lane].eq(multiply.o),
            ]
        return m
