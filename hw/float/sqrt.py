"""Square root of a machine float, one root bit per clock."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.contract.machine_float import FLOAT_BITS
from hw.float.rounding import BIAS, SIGNIFICAND_BITS, exponent_field, is_zero, rounded_code, sign_bit, significand

__all__ = ["FloatSqrt"]

_ROOT_BITS = SIGNIFICAND_BITS + 1
"""One bit more than the result, to round."""


class FloatSqrt(wiring.Component):
    """Computes o = rnd(sqrt(a)), one operation at a time.

    Digit by digit: one clock to load, one for each of the 18 root bits, one to round. The root of a negative number is
    +0.

    Rules: `start` during an operation abandons that operation.

    Latency: `LATENCY` clocks from `start` to `done`, for all operands.

    Members:
        start: accept `a`.
        a: radicand, 25-bit code; it counts only together with `start`.
        done: high for one clock.
        o: root, valid from `done` until the `done` of the next operation.
    """

    LATENCY = _ROOT_BITS + 2

    def __init__(self):
        super().__init__({"start": In(1), "a": In(FLOAT_BITS), "done": Out(1), "o": Out(FLOAT_BITS)})

    def elaborate(self, platform):
        m = Module()
        # An even power of two leaves the root's exponent whole, so the radicand is the significand in [1, 2), or in
        # [2, 4) when the unbiased exponent is odd. Its two bits before the point give the first bit of the root.
        radicand = Signal(SIGNIFICAND_BITS + 1)
        root = Signal(_ROOT_BITS)
        remainder = Signal(_ROOT_BITS + 1)
        exponent = Signal(signed(10))
        left, busy = Signal(range(_ROOT_BITS + 1)), Signal()

        candidate, trial, fits = Signal(_ROOT_BITS + 3), Signal(_ROOT_BITS + 2), Signal()
        m.d.comb += [
            candidate.eq(Cat(radicand[-2:], remainder)),
            trial.eq(Cat(Const(1, 2), root)),
            fits.eq(candidate >= trial),
        ]
        rounded = rounded_code(m, sign=Const(0, 1), exponent=exponent, bits=root, sticky=remainder.any())

        positive = Signal()
        m.d.comb += positive.eq(~sign_bit(self.a) & ~is_zero(self.a))
        m.d.sync += self.done.eq(0)
        with m.If(self.start):
            m.d.sync += [
                radicand.eq(0),
                remainder.eq(0),
                root.eq(0),
                exponent.eq((exponent_field(self.a) + BIAS) >> 1),
                left.eq(_ROOT_BITS),
                busy.eq(1),
            ]
            with m.If(positive):
                odd = ~exponent_field(self.a)[0]
                m.d.sync += radicand.eq(Mux(odd, significand(self.a) << 1, significand(self.a)))
        with m.Elif(left.any()):
            m.d.sync += [
                radicand.eq(radicand << 2),
                root.eq(Cat(fits, root)),
                remainder.eq(Mux(fits, candidate - trial, candidate)),
                left.eq(left - 1),
            ]
        with m.Elif(busy):
            m.d.sync += [busy.eq(0), self.done.eq(1), self.o.eq(rounded)]
        return m
