"""This file makes codes and a scale of each row of keys or values."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, EnableInserter, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.row_buffer import row_word
from hw.bound import bounded
from hw.contract.config import AccelConfig
from hw.contract.machine_float import FLOAT_BITS, float_code
from hw.contract.payloads import kv_codes
from hw.delay import delayed
from hw.float.divide import FloatDivide
from hw.float.mul import FloatMul
from hw.float.mul_to_int import MulToInt
from hw.float.rounding import exponent_field, is_zero
from hw.float.scale import scaled
from hw.watch import watch_range, watch_stream

__all__ = ["ROW_FACTS", "KvQuantize"]

ROW_FACTS = data.StructLayout({"largest": FLOAT_BITS - 1, "unit": FLOAT_BITS})
"""The largest magnitude of a row, a code without its sign, and the unit of its elements, 0 for none."""


class KvQuantize(wiring.Component):
    """Codes and scale of section 5 of docs/numerics.md, with L the largest code and E the exponent of a float.

    By absmax, with a unit of zero: code = rint(x * (L / max)), scale = max * rnd(1/L). A row of zeros needs no special
    case: the quotient saturates, and zero times anything is zero.

    With a unit, above zero: code = rint(x * (1 / unit) * 2^-s), scale = unit * 2^s, where s is zero unless the codes
    would be too large: s = max(0, E(max) - E(unit) - (kv_bits - 2)).

    Rules: the facts of each row come on `i_row`, in the order of the rows. The words of a row wait on `i` until its
    division is done. Facts are taken as soon as the row before them has its quotient in use, so that the division runs
    beside the words of the row before.

    Throughput: V codes per clock, rows without a gap if they have at least `ROW_CLOCKS` words; shorter rows take
    `ROW_CLOCKS` clocks each, those of the division. Latency: `LATENCY` clocks from a word to its codes. A word that is
    not taken stops the whole pipeline, but not the division.

    Members:
        i_row: ROW_FACTS.
        i: row_word of key and value rows.
        o: the codes of each.
    """

    LATENCY = MulToInt.LATENCY
    ROW_CLOCKS = FloatDivide.LATENCY

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i_row": In(stream.Signature(ROW_FACTS)),
            "i": In(stream.Signature(row_word(config))),
            "o": Out(stream.Signature(kv_codes(config))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        watch_stream(m, platform, self.o, "o")
        limit = 2 ** (self.config.kv_bits - 1) - 1
        # Of the row that is given out: the factor of its elements, and the two factors of its scale.
        ready, inverse = Signal(), Signal(FLOAT_BITS)
        scale_base, scale_factor = Signal(FLOAT_BITS), Signal(FLOAT_BITS)
        advance, ends = Signal(), Signal()
        self._add_division(m, platform, limit, ready, ends, inverse, scale_base, scale_factor)
        tag = Signal(data.StructLayout({"valid": 1, "last": 1}))
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(advance & ready),
            tag.valid.eq(self.i.valid & ready),
            tag.last.eq(self.i.payload.last),
            ends.eq(self.i.valid & self.i.ready & self.i.payload.last),
        ]
        scale = FloatMul()
        m.submodules.scale = EnableInserter(advance)(scale)
        with m.If(advance):
            there = delayed(m, tag, MulToInt.LATENCY, name="tag")
            m.d.sync += self.o.payload.scale.eq(scale.o)  # a multiplication takes one clock less than a code
        m.d.comb += [
            scale.a.eq(scale_base),
            scale.b.eq(scale_factor),
            self.o.valid.eq(there.valid),
            self.o.payload.last.eq(there.last),
        ]
        for lane in range(self.config.vector):
            code = MulToInt(self.config.kv_bits, limit)
            m.submodules[f"code_{lane}"] = EnableInserter(advance)(code)
            m.d.comb += [
                code.a.eq(self.i.payload["values"][lane]),
                code.b.eq(inverse),
                self.o.payload.codes[lane].eq(code.o),
            ]
            with m.If(self.o.valid):
                watch_range(m, platform, code.o, limit, "a code")
        bounded(platform, self.o.payload.codes[0], "key or value code", "127 or 32767", limit, -limit)
        return m

    def _add_division(
        self, m: Module, platform: object, limit: int, ready: Signal, ends: Signal, inverse: Signal,
        scale_base: Signal, scale_factor: Signal,
    ) -> None:
        """Divides for the next row, and sets the numbers of the row when the one before it `ends`."""
        m.submodules.divide = divide = FloatDivide()
        facts, new = Signal(ROW_FACTS), self.i_row.payload
        pending, divided, use = Signal(), Signal(), Signal()
        excess, shift, has_unit = Signal(signed(10)), Signal(8), Signal()
        bounded(platform, shift, "shift of values in units", "255 - 1 - 6", 255 - 1 - 6)
        m.d.comb += [
            use.eq((divide.done | divided) & (~ready | ends)),
            self.i_row.ready.eq(~pending | use),
            divide.start.eq(self.i_row.valid & self.i_row.ready),
            divide.a.eq(Mux(is_zero(new.unit), float_code(limit), float_code(1))),
            divide.b.eq(Mux(is_zero(new.unit), Cat(new.largest, Const(0, 1)), new.unit)),
            has_unit.eq(~is_zero(facts.unit)),
            excess.eq(exponent_field(facts.largest) - exponent_field(facts.unit) - (self.config.kv_bits - 2)),
            shift.eq(Mux(excess > 0, excess, 0)),
        ]
        quotient_in_units, scale_in_units = scaled(m, divide.o, -shift), scaled(m, facts.unit, shift)
        with m.If(ends):
            m.d.sync += ready.eq(0)
        with m.If(divide.done):
            m.d.sync += divided.eq(1)
        with m.If(use):
            m.d.sync += [
                pending.eq(0),
                divided.eq(0),
                ready.eq(1),
                inverse.eq(Mux(has_unit, quotient_in_units, divide.o)),
                scale_base.eq(Mux(has_unit, scale_in_units, facts.largest)),
                scale_factor.eq(Mux(has_unit, float_code(1), float_code(1 / limit))),
            ]
        with m.If(divide.start):
            m.d.sync += [pending.eq(1), facts.eq(new)]
