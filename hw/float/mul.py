"""Multiplication of two machine floats."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.bound import bounded
from hw.contract.machine_float import FLOAT_BITS
from hw.float.rounding import BIAS, SIGNIFICAND_BITS, exponent_field, rounded_code, sign_bit, significand

__all__ = ["FloatMul"]


class FloatMul(wiring.Component):
    """Computes o = rnd(a * b).

    The three stages are: operands of the multiplier; its 34-bit product; normalise and round. The 17 x 17 unsigned
    multiplier has registers on both sides, so that a DSP block can absorb them.

    Latency: `LATENCY` clocks. Throughput: one result per clock.

    Members:
        a, b: factors, 25-bit codes.
        o: the product.
    """

    LATENCY = 3

    def __init__(self):
        super().__init__({"a": In(FLOAT_BITS), "b": In(FLOAT_BITS), "o": Out(FLOAT_BITS)})

    def elaborate(self, platform):
        m = Module()
        factor_a, factor_b = Signal(SIGNIFICAND_BITS), Signal(SIGNIFICAND_BITS)
        product = Signal(2 * SIGNIFICAND_BITS)
        sign_1, sign_2 = Signal(), Signal()
        exponent_1, exponent_2 = Signal(signed(10)), Signal(signed(10))
        m.d.sync += [
            factor_a.eq(significand(self.a)),
            factor_b.eq(significand(self.b)),
            sign_1.eq(sign_bit(self.a) ^ sign_bit(self.b)),
            exponent_1.eq(exponent_field(self.a) + exponent_field(self.b) - BIAS),
            product.eq(factor_a * factor_b),
            sign_2.eq(sign_1),
            exponent_2.eq(exponent_1),
        ]
        # The product of two significands lies in [1, 4): at most one place to shift.
        bits = Signal(2 * SIGNIFICAND_BITS)
        exponent = Signal(signed(11))
        bounded(platform, exponent_2, "exponent of a product", "2 * 255 - 127", 2 * 255 - BIAS, -BIAS)
        bounded(platform, exponent, "exponent of a normalised product", "2 * 255 - 126", 2 * 255 - BIAS + 1, -BIAS)
        m.d.comb += [
            bits.eq(Mux(product[-1], product, product << 1)),
            exponent.eq(exponent_2 + product[-1]),
        ]
        m.d.sync += self.o.eq(rounded_code(m, sign=sign_2, exponent=exponent, bits=bits, sticky=0))
        return m
