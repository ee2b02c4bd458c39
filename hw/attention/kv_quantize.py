"""This file makes codes and a scale of one row of keys or values."""

from __future__ import annotations

from amaranth.hdl import Cat, EnableInserter, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.row_buffer import RowBuffer
from hw.bound import bounded
from hw.contract.config import AccelConfig
from hw.contract.machine_float import FLOAT_BITS, float_code
from hw.contract.payloads import column_values, kv_codes
from hw.float.divide import FloatDivide
from hw.float.mul import FloatMul
from hw.float.mul_to_int import MulToInt
from hw.float.rounding import exponent_field, is_zero
from hw.float.scale import scaled
from hw.watch import watch_range, watch_stream

__all__ = ["KvQuantize", "kv_elements"]


def kv_elements(config: AccelConfig) -> data.StructLayout:
    """V elements of a row, and the row's unit, the same in each of its words; `last` marks the last word."""
    return data.StructLayout({"values": column_values(config), "unit": FLOAT_BITS, "last": 1})


class KvQuantize(wiring.Component):
    """Codes and scale of section 5 of docs/numerics.md, with L the largest code and E the exponent of a float.

    By absmax, with a unit of zero: code = rint(x * (L / max)), scale = max * rnd(1/L). A row of zeros needs no special
    case: the quotient saturates, and zero times anything is zero.

    With a unit, above zero: code = rint(x * (1 / unit) * 2^-s), scale = unit * 2^s, where s is zero unless the codes
    would be too large: s = max(0, E(max) - E(unit) - (kv_bits - 2)).

    Cycles: the row is stored first; its first codes come `LATENCY` clocks after the word with `last`, then V codes per
    clock. The next row is taken when all codes have been.

    Members:
        i: one row after the other; the unit of its last word counts.
        o: the codes of each.
    """

    LATENCY = 1 + FloatDivide.LATENCY + 1 + RowBuffer.LATENCY + MulToInt.LATENCY

    def __init__(self, config: AccelConfig):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(kv_elements(config))),
            "o": Out(stream.Signature(kv_codes(config))),
        })

    def elaborate(self, platform):
        m = Module()
        watch_stream(m, platform, self.o, "o")
        limit = 2 ** (self.config.kv_bits - 1) - 1
        m.submodules.buffer = buffer = RowBuffer(self.config)
        m.submodules.divide = divide = FloatDivide()
        m.submodules.scale = scale = FloatMul()
        unit, has_unit = Signal(FLOAT_BITS), Signal()
        excess, shift = Signal(signed(10)), Signal(8)
        # The scale is ready long before the quotient.
        m.d.comb += [
            buffer.i.valid.eq(self.i.valid),
            self.i.ready.eq(buffer.i.ready),
            buffer.i.payload["values"].eq(self.i.payload["values"]),
            buffer.i.payload["last"].eq(self.i.payload["last"]),
            has_unit.eq(~is_zero(unit)),
            excess.eq(exponent_field(buffer.largest) - exponent_field(unit) - (self.config.kv_bits - 2)),
            shift.eq(Mux(excess > 0, excess, 0)),
            divide.a.eq(Mux(has_unit, float_code(1), float_code(limit))),
            divide.b.eq(Mux(has_unit, unit, buffer.largest)),
            scale.a.eq(buffer.largest),
            scale.b.eq(float_code(1 / limit)),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += unit.eq(self.i.payload["unit"])
        inverse = Mux(has_unit, scaled(m, divide.o, -shift), divide.o)
        with m.FSM():
            with m.State("collect"):
                m.d.comb += divide.start.eq(buffer.full)
                with m.If(buffer.full):
                    m.next = "divide"
            with m.State("divide"), m.If(divide.done):
                m.next = "emit"
            with m.State("emit"):
                m.d.comb += buffer.replay.eq(1)
                with m.If(self.o.valid & self.o.ready & self.o.payload.last):
                    m.d.comb += buffer.release.eq(1)
                    m.next = "collect"

        advance = Signal()
        valid, last = Signal(MulToInt.LATENCY), Signal(MulToInt.LATENCY)
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            buffer.advance.eq(advance),
            self.o.valid.eq(valid[-1]),
            self.o.payload.last.eq(last[-1]),
            self.o.payload.scale.eq(Mux(has_unit, scaled(m, unit, shift), scale.o)),
        ]
        with m.If(advance):
            m.d.sync += [valid.eq(Cat(buffer.valid, valid[:-1])), last.eq(Cat(buffer.last, last[:-1]))]
        for lane in range(self.config.vector):
            code = MulToInt(self.config.kv_bits, limit)
            m.submodules[f"code_{lane}"] = EnableInserter(advance)(code)
            m.d.comb += [
                code.a.eq(buffer.values[lane]),
                code.b.eq(inverse),
                self.o.payload.codes[lane].eq(code.o),
            ]
            with m.If(self.o.valid):
                watch_range(m, platform, code.o, limit, "a code")
        bounded(platform, self.o.payload.codes[0], "key or value code", "127 or 32767", limit, -limit)
        bounded(platform, shift, "shift of values in units", "255 - 1 - 6", 255 - 1 - 6)
        return m
