"""This file makes codes and a scale of each rotated query row."""

from __future__ import annotations

from amaranth.hdl import EnableInserter, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.row_buffer import row_word
from hw.bound import bounded
from hw.contract.config import AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.delay import delayed
from hw.dot.interfaces import OPERAND_BITS, query_word
from hw.float.rounding import BIAS
from hw.float.scale import scaled
from hw.float.to_int import FloatToInt
from hw.watch import watch_range, watch_stream

__all__ = ["QueryQuantize"]

_LIMIT = 2 ** (OPERAND_BITS - 1) - 1

_TOP_BIT = OPERAND_BITS - 2
"""A code of the largest magnitude lies in 2^16..2^17."""


class QueryQuantize(wiring.Component):
    """Query codes of section 5 of docs/numerics.md: E = exponent of the largest magnitude,
    q18 = rint(q * 2^(16-E)), qs = C * 2^(E-16).

    The scale is a power of two, so no multiplier is needed. A row of zeros gives codes 0, and scale 0
    because C is at most log2(e) and 2^-143 takes it below the range.

    Throughput: V codes per clock, rows without a gap. Latency: `LATENCY` clocks. A word that is not taken stops the
    whole pipeline.

    Members:
        i: row_word of query rows, with the exponent field of the largest magnitude of the row.
        softmax_scale: C, steady while there are rows.
        o: query_word.
    """

    LATENCY = FloatToInt.LATENCY

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(row_word(config))),
            "softmax_scale": In(FLOAT_BITS),
            "o": Out(stream.Signature(query_word(config))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        watch_stream(m, platform, self.o, "o")
        word, advance = self.i.payload, Signal()
        names = ("row", "bank", "scale_bank", "index", "last")
        tag = Signal(data.StructLayout({
            "valid": 1, "exponent": word.exponent.shape(), **{name: word[name].shape() for name in names}}))
        shift, scale_shift = Signal(signed(9)), Signal(signed(9))
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(advance),
            tag.valid.eq(self.i.valid),
            tag.exponent.eq(word.exponent),
            shift.eq(_TOP_BIT + BIAS - word.exponent),
        ]
        for name in names:
            m.d.comb += tag[name].eq(word[name])
        with m.If(advance):
            there = delayed(m, tag, self.LATENCY - 1, name="tag")
        m.d.comb += scale_shift.eq(there.exponent - (_TOP_BIT + BIAS))
        scale = scaled(m, self.softmax_scale, scale_shift)
        with m.If(advance):
            m.d.sync += [self.o.valid.eq(there.valid), self.o.payload.scale.eq(scale)]
            for name in names:
                m.d.sync += self.o.payload[name].eq(there[name])
        for lane in range(self.config.vector):
            code = FloatToInt(OPERAND_BITS, _LIMIT)
            m.submodules[f"code_{lane}"] = EnableInserter(advance)(code)
            m.d.comb += [
                code.i.eq(word["values"][lane]),
                code.shift.eq(shift),
                self.o.payload.codes[lane].eq(code.o),
            ]
            with m.If(self.o.valid):
                watch_range(m, platform, code.o, _LIMIT, "a code")
            for value in (code.o, self.o.payload.codes[lane]):
                bounded(platform, value, "query code", "131071", _LIMIT, -_LIMIT)
        return m
