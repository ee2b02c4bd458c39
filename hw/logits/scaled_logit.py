"""This file multiplies logits by the scale of their column, for the powers of section 7.1 of docs/numerics.md."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.bound import bounded
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.shortlist import FRACTION_BITS, SCALE_FRACTION_BITS, WHOLE_BITS
from hw.delay import delayed
from hw.float.rounding import BIAS, SIGNIFICAND_BITS, exponent_field, sign_bit, significand
from hw.logits.interfaces import POWER_SCALE

__all__ = ["SCALED_BITS", "ScaledLogit"]

SCALED_BITS = 1 + WHOLE_BITS + FRACTION_BITS

_PRODUCT_BITS = SIGNIFICAND_BITS + SCALE_FRACTION_BITS + 1
_MAGNITUDE_BITS = SCALED_BITS - 1
_LARGEST = (1 << _MAGNITUDE_BITS) - 1

_POINT = 2 * BIAS + SIGNIFICAND_BITS - 1 + SCALE_FRACTION_BITS - FRACTION_BITS
"""The product of the significands is shifted right by this less the two exponent fields."""


class ScaledLogit(wiring.Component):
    """Computes o = trunc(logit * scale * 2^20), saturated: the scaled logit of section 7.1 of docs/numerics.md.

    The product of the significands, 17 x 24 bits, is exact, so that one right shift cuts it towards 0. A shift by 41
    places or more leaves 0; one by no place or to the left, at least 2^40, which saturates. The six stages are:
    operands; product; the product once more, and the places of the shift; shift by eights; shift by the rest; saturate
    and sign. The multiplier has registers on both sides, so that DSP blocks absorb them.

    Rules: the scale is a normal number, neither 0 nor infinite. All state is in the domain `sync`, so that an
    `EnableInserter` halts the unit.

    Latency: `LATENCY` clocks. Throughput: one result per clock.

    Members:
        i: the logit, a 25-bit code.
        scale: the scale, an exponent of 8 bits above a fraction of 23.
        o: the scaled logit, with 20 fraction bits.
    """

    LATENCY = 6

    def __init__(self) -> None:
        super().__init__({"i": In(FLOAT_BITS), "scale": In(POWER_SCALE), "o": Out(signed(SCALED_BITS))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fraction, exponent = self.scale[:SCALE_FRACTION_BITS], self.scale[SCALE_FRACTION_BITS:]
        logit_1, scale_1 = Signal(SIGNIFICAND_BITS), Signal(SCALE_FRACTION_BITS + 1)
        exponents_1 = Signal(9)
        product_2, product_3 = Signal(_PRODUCT_BITS), Signal(_PRODUCT_BITS)
        right_2 = Signal(signed(10))
        m.d.sync += [
            logit_1.eq(significand(self.i)),
            scale_1.eq(Cat(fraction, Const(1, 1))),
            exponents_1.eq(exponent_field(self.i) + exponent),
            product_2.eq(logit_1 * scale_1),
            right_2.eq(_POINT - exponents_1),
            product_3.eq(product_2),
        ]
        bounded(platform, right_2, "right shift of a scaled logit", "2 * 127 + 19", _POINT, _POINT - 2 * 255)

        above_3, places_3 = Signal(), Signal(6)
        coarse_4, fine_5 = Signal(_PRODUCT_BITS), Signal(_PRODUCT_BITS)
        rest_4, above_4, above_5 = Signal(3), Signal(), Signal()
        m.d.sync += [
            above_3.eq(right_2 <= 0),
            places_3.eq(Mux(right_2 >= 63, 63, right_2[:6])),  # 63 places leave nothing
            coarse_4.eq(product_3 >> Cat(Const(0, 3), places_3[3:])),
            rest_4.eq(places_3[:3]),
            above_4.eq(above_3),
            fine_5.eq(coarse_4 >> rest_4),
            above_5.eq(above_4),
        ]

        negative_5 = delayed(m, sign_bit(self.i), 5, name="negative")
        magnitude = Signal(_MAGNITUDE_BITS)
        m.d.comb += magnitude.eq(Mux(above_5 | fine_5[_MAGNITUDE_BITS:].any(), _LARGEST, fine_5))
        m.d.sync += self.o.eq(Mux(negative_5, -magnitude, magnitude))
        bounded(platform, self.o, "scaled logit", "2^39 - 1", _LARGEST, -_LARGEST)
        return m
