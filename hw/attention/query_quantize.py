"""This file makes 16-bit codes and a scale of one rotated query row."""

from __future__ import annotations

from amaranth.hdl import Cat, EnableInserter, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.row_buffer import RowBuffer, row_word
from hw.bound import bounded
from hw.contract.config import AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.float.rounding import BIAS, exponent_field
from hw.float.scale import scaled
from hw.float.to_int import FloatToInt
from hw.watch import watch_range, watch_stream

__all__ = ["QUERY_CODE_BITS", "QueryQuantize", "query_codes"]

QUERY_CODE_BITS = 16
"""Signed width of a query code."""

_LIMIT = 2 ** (QUERY_CODE_BITS - 1) - 1

_TOP_BIT = QUERY_CODE_BITS - 2
"""A code of the largest magnitude lies in 2^14..2^15."""


def query_codes(config: AccelConfig) -> data.StructLayout:
    """V codes of a row and the row's scale qs, the same in each of its words; `last` marks the last word."""
    return data.StructLayout({
        "codes": data.ArrayLayout(signed(QUERY_CODE_BITS), config.vector),
        "scale": FLOAT_BITS,
        "last": 1,
    })


class QueryQuantize(wiring.Component):
    """Query codes of section 5 of docs/numerics.md: E = exponent of the largest magnitude,
    q16 = rint(q * 2^(14-E)), qs = C * 2^(E-14).

    The scale is a power of two, so no multiplier is needed. A row of zeros gives codes 0, and scale 0
    because C is at most log2(e) and 2^-141 takes it below the range.

    Cycles: the row is stored first; its first codes come `LATENCY` clocks after the word with `last`, then V codes per
    clock. The next row is taken when all codes have been.

    Members:
        i: one row after the other.
        softmax_scale: C, 25-bit code; steady from the row's last word to its last codes.
        o: the codes of each.
    """

    LATENCY = 1 + RowBuffer.LATENCY + FloatToInt.LATENCY

    def __init__(self, config: AccelConfig):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(row_word(config))),
            "softmax_scale": In(FLOAT_BITS),
            "o": Out(stream.Signature(query_codes(config))),
        })

    def elaborate(self, platform):
        m = Module()
        watch_stream(m, platform, self.o, "o")
        m.submodules.buffer = buffer = RowBuffer(self.config)
        wiring.connect(m, wiring.flipped(self.i), buffer.i)
        advance = Signal()
        valid, last = Signal(FloatToInt.LATENCY), Signal(FloatToInt.LATENCY)
        shift, qs_shift = Signal(signed(9)), Signal(signed(9))
        field = exponent_field(buffer.largest)
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            buffer.replay.eq(buffer.full),
            buffer.advance.eq(advance),
            buffer.release.eq(self.o.valid & self.o.ready & self.o.payload.last),
            shift.eq(_TOP_BIT + BIAS - field),
            qs_shift.eq(field - (_TOP_BIT + BIAS)),
            self.o.valid.eq(valid[-1]),
            self.o.payload.last.eq(last[-1]),
        ]
        with m.If(advance):
            m.d.sync += [valid.eq(Cat(buffer.valid, valid[:-1])), last.eq(Cat(buffer.last, last[:-1]))]
        m.d.comb += self.o.payload.scale.eq(scaled(m, self.softmax_scale, qs_shift))
        for lane in range(self.config.vector):
            code = FloatToInt(QUERY_CODE_BITS, _LIMIT)
            m.submodules[f"code_{lane}"] = EnableInserter(advance)(code)
            m.d.comb += [
                code.i.eq(buffer.values[lane]),
                code.shift.eq(shift),
                self.o.payload.codes[lane].eq(code.o),
            ]
            with m.If(self.o.valid):
                watch_range(m, platform, code.o, _LIMIT, "a code")
            for value in (code.o, self.o.payload.codes[lane]):
                bounded(platform, value, "query code", "32767", 32767, -32767)
        return m
