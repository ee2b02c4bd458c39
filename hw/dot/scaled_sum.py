"""Product of an exact sum and its two scales: a logit of the LM head, or a score of attention."""

from __future__ import annotations

from amaranth.hdl import Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.contract.machine_float import FLOAT_BITS
from hw.float.from_int import IntToFloat
from hw.float.mul import FloatMul

__all__ = ["ScaledSum"]


class ScaledSum(wiring.Component):
    """Computes o = F(sum) * (scale_a * scale_b), with three roundings.

    Latency: `LATENCY` clocks. Throughput: one result per clock.

    Args:
        sum_bits: signed width of the sum.

    Members:
        i: the sum.
        a, b: its two scales, 25-bit codes.
        o: the product.
    """

    LATENCY = IntToFloat.LATENCY + FloatMul.LATENCY

    def __init__(self, sum_bits: int):
        self.sum_bits = sum_bits
        super().__init__({"i": In(signed(sum_bits)), "a": In(FLOAT_BITS), "b": In(FLOAT_BITS), "o": Out(FLOAT_BITS)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.to_float = to_float = IntToFloat(self.sum_bits)
        m.submodules.scale = scale = FloatMul()
        m.submodules.product = product = FloatMul()
        assert IntToFloat.LATENCY == FloatMul.LATENCY, "the sum and the product of its scales meet in one clock"
        m.d.comb += [
            to_float.i.eq(self.i),
            scale.a.eq(self.a),
            scale.b.eq(self.b),
            product.a.eq(to_float.o),
            product.b.eq(scale.o),
            self.o.eq(product.o),
        ]
        return m
