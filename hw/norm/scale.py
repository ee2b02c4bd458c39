"""Scalar arithmetic of one norm: from the statistics of a vector to its scales."""

from __future__ import annotations

import struct

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.machine_float import FLOAT_BITS, FRACTION_BITS
from hw.float.add import FloatAdd
from hw.float.compare import float_greater
from hw.float.divide import FloatDivide
from hw.float.mul import FloatMul
from hw.float.rounding import BIAS
from hw.float.sqrt import FloatSqrt
from hw.watch import watch_stream

__all__ = ["NormScale", "scale_request", "scale_result"]


def _code(value: float) -> int:
    """The machine float nearest to a positive constant in the middle of the range."""
    word = struct.unpack("<Q", struct.pack("<d", value))[0]
    drop = 52 - FRACTION_BITS
    word = (word + (1 << (drop - 1)) - 1 + (word >> drop & 1)) >> drop
    return word - ((1023 - BIAS) << FRACTION_BITS)


ONE = Const(_code(1.0), FLOAT_BITS)
LARGEST_CODE = Const(_code(127.0), FLOAT_BITS)
MIN_ABSMAX = Const(_code(1e-5), FLOAT_BITS)
TINY_MULTIPLIER = Const(_code(127e5), FLOAT_BITS)
PER_127 = Const(_code(1 / 127), FLOAT_BITS)

# The schedule: clocks after the one in which the request is taken.
_MEAN = 1                                       # mean = square_sum * per_n; at the same time 127 / absmax
_SHIFTED = _MEAN + FloatMul.LATENCY             # mean + eps
_ROOT = _SHIFTED + FloatAdd.LATENCY             # square root
_RSTD = _ROOT + FloatSqrt.LATENCY               # 1 / root; at the same time root * 1e-5
_TOP = _RSTD + FloatMul.LATENCY                 # max(absmax, root * 1e-5)
_NORMED = _RSTD + FloatDivide.LATENCY           # absmax * rstd
_TINY = _NORMED + 1                             # rstd * 127e5
_SCALE = _NORMED + FloatMul.LATENCY             # max(absmax * rstd, 1e-5) / 127
_INVERSE = _TINY + FloatMul.LATENCY             # choose
_END = _SCALE + FloatMul.LATENCY                # act_scale is there


def scale_request(config: AccelConfig) -> data.StructLayout:
    """Statistics of a vector, 1 / n and eps: machine floats. The configuration does not shape it."""
    del config
    return data.StructLayout(dict.fromkeys(("square_sum", "absmax", "per_n", "eps"), FLOAT_BITS))


def scale_result(config: AccelConfig) -> data.StructLayout:
    """Reciprocal rms, the x * g that gets code 127, 127 / top, value of one code: machine floats.

    `inverse` is not part of the contract: it is within 2^-14 of 127 / top.
    """
    del config
    return data.StructLayout(dict.fromkeys(("rstd", "top", "inverse", "act_scale"), FLOAT_BITS))


class NormScale(wiring.Component):
    """Computes the scales of one vector after the other.

    One multiplier, adder, divider and square root are used in a fixed order. 127 / absmax is divided while the mean is
    computed. If absmax is so small that it is not the top, 127e5 * rstd is used instead.

    Rules: eps is not zero. The next request is accepted one clock after `o` is.

    Latency: `o` is valid `LATENCY` clocks after `i` is accepted, for all values.

    Members:
        i: scale_request.
        o: scale_result.
    """

    LATENCY = _END + 1

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(scale_request(config))),
            "o": Out(stream.Signature(scale_result(config))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        watch_stream(m, platform, self.o, "o")
        m.submodules.mul = mul = FloatMul()
        m.submodules.add = add = FloatAdd()
        m.submodules.divide = divide = FloatDivide()
        m.submodules.sqrt = sqrt = FloatSqrt()
        request = Signal(scale_request(self.config))
        result = self.o.payload
        ratio = Signal(FLOAT_BITS)
        tiny = Signal()
        clock = Signal(range(_END + 1))

        m.d.comb += self.i.ready.eq((clock == 0) & ~self.o.valid)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [request.eq(self.i.payload), clock.eq(1)]
        with m.Elif(clock != 0):
            m.d.sync += clock.eq(Mux(clock == _END, 0, clock + 1))
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        # Operands that need no choice.
        m.d.comb += [
            add.a.eq(mul.o),
            add.b.eq(request.eps),
            sqrt.a.eq(add.o),
            sqrt.start.eq(clock == _ROOT),
            divide.start.eq((clock == _MEAN) | (clock == _RSTD)),
            divide.a.eq(Mux(clock == _MEAN, LARGEST_CODE, ONE)),
            divide.b.eq(Mux(clock == _MEAN, request.absmax, sqrt.o)),
        ]
        with m.Switch(clock):
            with m.Case(_MEAN):
                m.d.comb += [mul.a.eq(request.square_sum), mul.b.eq(request.per_n)]
            with m.Case(_MEAN + FloatDivide.LATENCY):
                m.d.sync += ratio.eq(divide.o)
            with m.Case(_RSTD):
                m.d.comb += [mul.a.eq(sqrt.o), mul.b.eq(MIN_ABSMAX)]
            with m.Case(_TOP):
                m.d.sync += [
                    result.top.eq(Mux(float_greater(mul.o, request.absmax), mul.o, request.absmax)),
                    tiny.eq(float_greater(mul.o, request.absmax)),
                ]
            with m.Case(_NORMED):
                m.d.comb += [mul.a.eq(request.absmax), mul.b.eq(divide.o)]
                m.d.sync += result.rstd.eq(divide.o)
            with m.Case(_TINY):
                m.d.comb += [mul.a.eq(result.rstd), mul.b.eq(TINY_MULTIPLIER)]
            with m.Case(_SCALE):
                m.d.comb += [mul.a.eq(Mux(float_greater(MIN_ABSMAX, mul.o), MIN_ABSMAX, mul.o)), mul.b.eq(PER_127)]
            with m.Case(_INVERSE):
                m.d.sync += result.inverse.eq(Mux(tiny, mul.o, ratio))
            with m.Case(_END):
                m.d.sync += [result.act_scale.eq(mul.o), self.o.valid.eq(1)]
        return m
