"""Conversion of integers to machine floats."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.bound import bounded
from hw.contract.machine_float import FLOAT_BITS
from hw.float.rounding import BIAS, SIGNIFICAND_BITS, normalised, rounded_code

__all__ = ["IntToFloat"]


class IntToFloat(wiring.Component):
    """Computes o = rnd(i). The three stages are: sign and magnitude; normalise; round.

    Latency: `LATENCY` clocks. Throughput: one result per clock.

    Args:
        width: bits of the signed integer, 2 to 64.

    Members:
        i: integer.
        o: its float.
    """

    LATENCY = 3

    def __init__(self, width: int):
        if not 2 <= width <= 64:
            raise ValueError(f"IntToFloat converts 2 to 64 bits, not {width}")
        self.width = width
        super().__init__({"i": In(signed(width)), "o": Out(FLOAT_BITS)})

    def elaborate(self, platform):
        m = Module()
        magnitude, sign_1, sign_2 = Signal(self.width), Signal(), Signal()
        m.d.sync += [
            magnitude.eq(Mux(self.i < 0, -self.i, self.i)),
            sign_1.eq(self.i < 0),
            sign_2.eq(sign_1),
        ]
        padding = max(SIGNIFICAND_BITS + 1 - self.width, 0)
        bits, count = normalised(m, Cat(Const(0, padding), magnitude))
        kept = SIGNIFICAND_BITS + 1
        bits_2, sticky_2, count_2 = Signal(kept), Signal(), Signal(len(count))
        m.d.sync += [bits_2.eq(bits[-kept:]), sticky_2.eq(bits[:-kept].any()), count_2.eq(count)]
        exponent = Signal(signed(10))
        m.d.comb += exponent.eq(BIAS + self.width - 1 - count_2)
        bounded(platform, exponent, "exponent of an integer", "127 + 63", BIAS + 63)
        m.d.sync += self.o.eq(rounded_code(m, sign=sign_2, exponent=exponent, bits=bits_2, sticky=sticky_2))
        return m
