"""Exact quotient of two machine floats, rounded to an int8 code."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.bound import bounded
from hw.contract.machine_float import FLOAT_BITS
from hw.delay import delayed
from hw.float.rounding import BIAS, SIGNIFICAND_BITS, aligned_integer, exponent_field, sign_bit, significand

__all__ = ["INT8_LIMIT", "QuotientCode"]

INT8_LIMIT = 127

GUESS_BITS = 12
"""Leading bits of each factor of the guess. Cut off, they cost it at most 127 * 2^-10 = 1/8."""

MAGNITUDE_BITS = INT8_LIMIT.bit_length()
"""Bits of a code without its sign."""

SCALED_BITS = SIGNIFICAND_BITS + 1 + MAGNITUDE_BITS
FAR = MAGNITUDE_BITS + 2
"""From this distance of the exponents on, the quotient is below a half."""


class QuotientCode(wiring.Component):
    """Computes o = rint(127 * a / top), half to even, of the exact quotient.

    The integer part n of a * inverse differs from the quotient by less than a half, so the code is n or n + 1. An exact
    comparison of 2 * 127 * |a| with (2 n + 1) * top selects one of them. Ties are therefore found exactly, whatever the
    rounding of `inverse`. The six stages are: leading bits; guess as a product; guess as an integer; its upper bound
    times top; comparison; rounding and sign.

    Rules: |a| <= top, 2^-120 <= top, |inverse * top / 127 - 1| <= 2^-10. The caller gives `top` twice, so that many
    units can share the registers of its delay.

    Latency: `LATENCY` clocks. Throughput: one result per clock. Cost: a multiplier of 12 x 12 and one of 17 x 8.

    Members:
        a, inverse, top: 25-bit codes.
        late_top: `top` as it was `TOP_DELAY` clocks ago.
        o: the code.
    """

    LATENCY = 6
    TOP_DELAY = 3

    def __init__(self) -> None:
        super().__init__({
            **dict.fromkeys(("a", "inverse", "top", "late_top"), In(FLOAT_BITS)), "o": Out(signed(MAGNITUDE_BITS + 1)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Stages 1 to 3: the guess. A product of significands is 0.1xxx * 4 or 0.01xxx * 4.
        factor_a, factor_i = Signal(GUESS_BITS), Signal(GUESS_BITS)
        product = Signal(2 * GUESS_BITS)
        scale_1, scale_2 = Signal(signed(11)), Signal(signed(11))
        bounded(platform, scale_2, "exponent of the guess of an int8 code", "2 * 255 - 252",
                2 * 255 - 2 * BIAS + 2, 2 - 2 * BIAS)
        bounded(platform, self.o, "int8 code", "127", INT8_LIMIT, -INT8_LIMIT)
        guess = Signal(MAGNITUDE_BITS)
        m.d.sync += [
            factor_a.eq(significand(self.a)[-GUESS_BITS:]),
            factor_i.eq(significand(self.inverse)[-GUESS_BITS:]),
            scale_1.eq(exponent_field(self.a) + exponent_field(self.inverse) - (2 * BIAS - 2)),
            product.eq(factor_a * factor_i),
            scale_2.eq(scale_1),
        ]
        fixed, _ = aligned_integer(m, bits=product, headroom=2, scale=scale_2, limit=INT8_LIMIT)
        m.d.sync += guess.eq(fixed[len(product):])

        # Beside it: 2 * 127 * |a| in units of the last bit of top, and whether something was cut off below.
        significand_1, scaled_2, scaled_3 = Signal(SIGNIFICAND_BITS), Signal(SCALED_BITS), Signal(SCALED_BITS)
        distance = Signal(signed(9))
        distance_1 = Signal(range(FAR + 1))
        m.d.comb += distance.eq(exponent_field(self.top) - exponent_field(self.a))
        m.d.sync += [
            significand_1.eq(significand(self.a)),
            distance_1.eq(Mux(distance > FAR, FAR, distance)),
            scaled_2.eq((significand_1 << (MAGNITUDE_BITS + 1)) - (significand_1 << 1)),
            scaled_3.eq(scaled_2),
        ]
        distance_3 = delayed(m, distance_1, 2, name="distance")

        # Stage 4
        bound, scaled_4, more_4 = Signal(SCALED_BITS), Signal(SCALED_BITS), Signal()
        shifted = Signal(SCALED_BITS + FAR)
        m.d.comb += shifted.eq(Cat(Const(0, FAR), scaled_3) >> distance_3)
        m.d.sync += [
            bound.eq(Cat(Const(1, 1), guess) * significand(self.late_top)),
            scaled_4.eq(shifted[FAR:]),
            more_4.eq(shifted[:FAR].any()),
        ]
        # Stage 5
        above_5, equal_5 = Signal(), Signal()
        m.d.sync += [
            above_5.eq((scaled_4 > bound) | (scaled_4 == bound) & more_4),
            equal_5.eq(scaled_4 == bound),
        ]
        # Stage 6
        guess_5, sign_5 = delayed(m, guess, 2, name="guess"), delayed(m, sign_bit(self.a), 5, name="sign")
        magnitude = Signal(MAGNITUDE_BITS)
        m.d.comb += magnitude.eq(guess_5 + (above_5 | equal_5 & guess_5[0]))
        m.d.sync += self.o.eq(Mux(sign_5, -magnitude, magnitude))
        return m
