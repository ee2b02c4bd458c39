"""Division of two machine floats, one quotient bit per clock."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.bound import bounded
from hw.contract.machine_float import FLOAT_BITS
from hw.float.rounding import (
    BIAS,
    MAX_CODE_MAGNITUDE,
    SIGNIFICAND_BITS,
    exponent_field,
    is_zero,
    rounded_code,
    sign_bit,
    significand,
)

__all__ = ["FloatDivide"]

_QUOTIENT_BITS = SIGNIFICAND_BITS + 2
"""The quotient of two significands lies in (1/2, 2): one bit for the range, one to round."""


class FloatDivide(wiring.Component):
    """Computes o = rnd(a / b), one operation at a time.

    Restoring division needs no multiplier: one clock to load, one for each of the 19 quotient bits, one to round.
    Division by zero gives the largest float with the sign of `a`; 0 / 0 is +0.

    Rules: `start` during an operation abandons that operation.

    Latency: `LATENCY` clocks from `start` to `done`, for all operands.

    Members:
        start: accept `a` and `b`.
        a, b: dividend and divisor, 25-bit codes; they count only together with `start`.
        done: high for one clock.
        o: quotient, valid from `done` until the `done` of the next operation.
    """

    LATENCY = _QUOTIENT_BITS + 2

    def __init__(self):
        super().__init__({
            "start": In(1), "a": In(FLOAT_BITS), "b": In(FLOAT_BITS), "done": Out(1), "o": Out(FLOAT_BITS),
        })

    def elaborate(self, platform):
        m = Module()
        remainder, divisor = Signal(SIGNIFICAND_BITS + 1), Signal(SIGNIFICAND_BITS)
        quotient = Signal(_QUOTIENT_BITS)
        exponent, sign = Signal(signed(10)), Signal()
        by_zero, dividend_zero = Signal(), Signal()
        left, busy = Signal(range(_QUOTIENT_BITS + 1)), Signal()

        fits = Signal()
        reduced = Signal(SIGNIFICAND_BITS)
        m.d.comb += [
            fits.eq(remainder >= divisor),
            reduced.eq(Mux(fits, remainder - divisor, remainder)),
        ]

        bits = Signal(_QUOTIENT_BITS)
        rounding_exponent = Signal(signed(11))
        bounded(platform, rounding_exponent, "exponent of a quotient", "255 + 127", 255 + BIAS, BIAS - 255 - 1)
        m.d.comb += [
            bits.eq(Mux(quotient[-1], quotient, quotient << 1)),
            rounding_exponent.eq(Mux(quotient[-1], exponent, exponent - 1)),
        ]
        rounded = rounded_code(m, sign=sign, exponent=rounding_exponent, bits=bits, sticky=remainder.any())

        m.d.sync += self.done.eq(0)
        with m.If(self.start):
            m.d.sync += [
                remainder.eq(significand(self.a)),
                divisor.eq(significand(self.b)),
                exponent.eq(exponent_field(self.a) - exponent_field(self.b) + BIAS),
                sign.eq(sign_bit(self.a) ^ (sign_bit(self.b) & ~is_zero(self.b))),
                by_zero.eq(is_zero(self.b)),
                dividend_zero.eq(is_zero(self.a)),
                left.eq(_QUOTIENT_BITS),
                busy.eq(1),
            ]
        with m.Elif(left.any()):
            m.d.sync += [
                quotient.eq(Cat(fits, quotient)),
                remainder.eq(reduced << 1),
                left.eq(left - 1),
            ]
        with m.Elif(busy):
            m.d.sync += [busy.eq(0), self.done.eq(1), self.o.eq(rounded)]
            with m.If(by_zero):
                m.d.sync += self.o.eq(Mux(dividend_zero, 0, Cat(Const(MAX_CODE_MAGNITUDE, FLOAT_BITS - 1), sign)))
        return m
