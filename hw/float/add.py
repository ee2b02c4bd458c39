"""Addition of two machine floats."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.bound import bounded
from hw.contract.machine_float import FLOAT_BITS
from hw.float.rounding import SIGNIFICAND_BITS, exponent_field, normalised, rounded_code, sign_bit, significand

__all__ = ["FloatAdd"]

_EXTRA_BITS = 3
"""Guard, round and sticky below the last bit of the larger operand."""
_ALIGNED_BITS = SIGNIFICAND_BITS + _EXTRA_BITS


class FloatAdd(wiring.Component):
    """Computes o = rnd(a + b). For a difference, pass `compare.negate(b)`.

    The three stages are: order the operands by magnitude; align the smaller one and add or subtract; normalise and
    round. A difference of equal magnitudes is +0. If more than one leading place cancels, the exponents differ by at
    most one: then no bit was shifted out, and the result is exact.

    Latency: `LATENCY` clocks. Throughput: one result per clock.

    Members:
        a, b: terms, 25-bit codes.
        o: the sum.
    """

    LATENCY = 3

    def __init__(self):
        super().__init__({"a": In(FLOAT_BITS), "b": In(FLOAT_BITS), "o": Out(FLOAT_BITS)})

    def elaborate(self, platform):
        m = Module()

        swap = Signal()
        large, small = Signal(FLOAT_BITS), Signal(FLOAT_BITS)
        m.d.comb += [
            swap.eq(self.b[:FLOAT_BITS - 1] > self.a[:FLOAT_BITS - 1]),
            large.eq(Mux(swap, self.b, self.a)),
            small.eq(Mux(swap, self.a, self.b)),
        ]
        large_1, small_1 = Signal(SIGNIFICAND_BITS), Signal(SIGNIFICAND_BITS)
        distance_1, exponent_1 = Signal(8), Signal(8)
        sign_1, subtract_1 = Signal(), Signal()
        m.d.sync += [
            large_1.eq(significand(large)),
            small_1.eq(significand(small)),
            distance_1.eq((exponent_field(large) - exponent_field(small)).as_unsigned()[:8]),
            exponent_1.eq(exponent_field(large)),
            sign_1.eq(sign_bit(large)),
            subtract_1.eq(sign_bit(large) ^ sign_bit(small)),
        ]

        # A bit that falls below the round bit is only sticky. So are all bits from 32 places on.
        shifted = Signal(_ALIGNED_BITS)
        aligned = Signal(_ALIGNED_BITS)
        far, lost = distance_1[5:].any(), Signal(SIGNIFICAND_BITS)
        m.d.comb += [
            lost.eq(Cat(small_1[n] & (distance_1[:5] >= n + _EXTRA_BITS) for n in range(SIGNIFICAND_BITS))),
            shifted.eq(Cat(Const(0, _EXTRA_BITS), small_1) >> distance_1[:5]),
            aligned.eq(Cat(lost.any() | far & small_1.any(), shifted[1:] & (~far).replicate(_ALIGNED_BITS - 1))),
        ]
        total_2 = Signal(_ALIGNED_BITS + 1)
        exponent_2, sign_2 = Signal(8), Signal()
        padded = Cat(Const(0, _EXTRA_BITS), large_1)
        subtrahend = aligned ^ subtract_1.replicate(_ALIGNED_BITS)
        # One adder for both: a difference is the sum with the complement and a carry, which comes out of a bit below.
        carried = Cat(Const(1, 1), padded, Const(0, 1)) + Cat(subtract_1, subtrahend, subtract_1)
        m.d.sync += [
            total_2.eq(carried[1:]),
            exponent_2.eq(exponent_1),
            sign_2.eq(sign_1),
        ]

        # A sum, and a difference that loses one place at most, is rounded; any other difference is exact.
        places, inexact, bits_2 = Signal(range(3)), total_2[-3:].any(), Signal(_ALIGNED_BITS + 1)
        m.d.comb += [places.eq(Mux(total_2[-1], 0, Mux(total_2[-2], 1, 2))), bits_2.eq(total_2 << places)]
        rounded_exponent, exponent = Signal(signed(10)), Signal(signed(10))
        rounded = rounded_code(m, sign=sign_2, exponent=rounded_exponent, bits=bits_2, sticky=0)
        bits, count = normalised(m, total_2)
        m.d.comb += [rounded_exponent.eq(exponent_2 + 1 - places), exponent.eq(exponent_2 + 1 - count)]
        for value in (rounded_exponent, exponent):
            bounded(platform, value, "exponent of a sum", "255 + 1", 255 + 1, 1 - 31)
        with m.If(inexact):
            m.d.sync += self.o.eq(rounded)
        with m.Elif(total_2.any() & (exponent >= 1)):
            m.d.sync += self.o.eq(Cat(bits[-SIGNIFICAND_BITS:-1], exponent[:8], sign_2))
        with m.Else():
            m.d.sync += self.o.eq(0)
        return m
