"""Product of two machine floats, rounded once to an integer."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.contract.machine_float import FLOAT_BITS
from hw.float.rounding import (
    BIAS,
    SIGNIFICAND_BITS,
    aligned_integer,
    clipped_integer,
    exponent_field,
    sign_bit,
    significand,
)

__all__ = ["MulToInt"]

_PRODUCT_BITS = 2 * SIGNIFICAND_BITS


class MulToInt(wiring.Component):
    """Computes o = clip(rint(a * b), -limit, limit), half to even.

    The 34-bit product is not rounded to a float, so it neither overflows nor underflows. The four stages are: operands
    of the 17 x 17 unsigned multiplier; product; shift to a fixed point; round, clip and sign.

    Latency: `LATENCY` clocks. Throughput: one result per clock.

    Args:
        width: bits of the signed result.
        limit: largest magnitude of the result, 1 to 2^(width-1) - 1.

    Members:
        a, b: factors, 25-bit codes.
        o: the integer.
    """

    LATENCY = 4

    def __init__(self, width: int, limit: int):
        if not 1 <= limit < 1 << (width - 1):
            raise ValueError(f"limit {limit} does not fit a signed result of {width} bits")
        self.width = width
        self.limit = limit
        super().__init__({"a": In(FLOAT_BITS), "b": In(FLOAT_BITS), "o": Out(signed(width))})

    def elaborate(self, platform):
        m = Module()
        factor_a, factor_b = Signal(SIGNIFICAND_BITS), Signal(SIGNIFICAND_BITS)
        product = Signal(_PRODUCT_BITS)
        # A product of significands is 0.1xxx * 4 or 0.01xxx * 4: the scale is two more than the sum of the exponents.
        scale_1, scale_2 = Signal(signed(11)), Signal(signed(11))
        sign_1, sign_2, sign_3 = Signal(), Signal(), Signal()
        m.d.sync += [
            factor_a.eq(significand(self.a)),
            factor_b.eq(significand(self.b)),
            scale_1.eq(exponent_field(self.a) + exponent_field(self.b) - (2 * BIAS - 2)),
            sign_1.eq(sign_bit(self.a) ^ sign_bit(self.b)),
            product.eq(factor_a * factor_b),
            scale_2.eq(scale_1),
            sign_2.eq(sign_1),
        ]
        fixed, above = aligned_integer(m, bits=product, headroom=2, scale=scale_2, limit=self.limit)
        fixed_3, above_3 = Signal(len(fixed)), Signal()
        m.d.sync += [fixed_3.eq(fixed), above_3.eq(above), sign_3.eq(sign_2)]
        m.d.sync += self.o.eq(clipped_integer(
            m, fixed=fixed_3, fraction_bits=_PRODUCT_BITS, above=above_3, sign=sign_3, limit=self.limit))
        return m
