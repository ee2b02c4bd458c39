"""Conversion of machine floats to integers."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.bound import bounded
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

__all__ = ["FloatToInt"]


class FloatToInt(wiring.Component):
    """Computes o = clip(rint(i * 2^shift), -limit, limit), half to even.

    The scaling is exact: i * 2^shift is not rounded to a float. The two stages are: shift to a fixed point; round, clip
    and sign.

    Latency: `LATENCY` clocks. Throughput: one result per clock.

    Args:
        width: bits of the signed result.
        limit: largest magnitude of the result, 1 to 2^(width-1) - 1.
        shift_bits: magnitude bits of `shift`, which is a signed number of one more bit.

    Members:
        i: float, 25-bit code.
        shift: exponent of the power of two.
        o: the integer.
    """

    LATENCY = 2

    def __init__(self, width: int, limit: int, shift_bits: int = 8):
        if not 1 <= limit < 1 << (width - 1):
            raise ValueError(f"limit {limit} does not fit a signed result of {width} bits")
        self.width = width
        self.limit = limit
        self.shift_bits = shift_bits
        super().__init__({
            "i": In(FLOAT_BITS),
            "shift": In(signed(shift_bits + 1)),
            "o": Out(signed(width)),
        })

    def elaborate(self, platform):
        m = Module()
        # A significand is 0.1xxx * 2: the scale is one more than the exponent.
        scale = Signal(signed(max(9, self.shift_bits + 1) + 2))
        bits = Signal(SIGNIFICAND_BITS)
        bounded(platform, scale, "exponent of a code times 2^shift", "255 - 126 + 255",
                255 - BIAS + 1 + 255, 1 - BIAS - 256)
        m.d.comb += [
            scale.eq(exponent_field(self.i) - (BIAS - 1) + self.shift),
            bits.eq(significand(self.i)),
        ]
        fixed, above = aligned_integer(m, bits=bits, headroom=1, scale=scale, limit=self.limit)
        fixed_1, above_1, sign_1 = Signal(len(fixed)), Signal(), Signal()
        m.d.sync += [fixed_1.eq(fixed), above_1.eq(above), sign_1.eq(sign_bit(self.i))]
        m.d.sync += self.o.eq(clipped_integer(
            m, fixed=fixed_1, fraction_bits=SIGNIFICAND_BITS, above=above_1, sign=sign_1, limit=self.limit))
        return m
