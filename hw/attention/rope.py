"""This file rotates queries and keys by their position."""

from __future__ import annotations

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.payloads import column_values
from hw.float.add import FloatAdd
from hw.float.mul import FloatMul
from hw.float.rounding import sign_bit

__all__ = ["Rope"]


class Rope(wiring.Component):
    """Rotary position embedding of section 5 of docs/numerics.md, one half of a pair per clock: element i of a head is
    paired with element i + d/2.

    A lower element is a * cos - b * sin, an upper element a * cos + b * sin; `a` is the element itself and `b` its
    partner. Each operation rounds. So a lane needs two multipliers and one adder. With cos = 1 and sin = 0 an element
    passes unchanged.

    Throughput: V elements per clock, without stalls. Latency: `LATENCY` clocks.

    Members:
        a, b: V elements and their partners.
        cos, sin: of their angles.
        upper: the elements are those of the upper half of the head.
        o: the rotated elements.
    """

    LATENCY = FloatMul.LATENCY + FloatAdd.LATENCY

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        values = column_values(config)
        super().__init__({
            "a": In(values), "b": In(values), "cos": In(values), "sin": In(values), "upper": In(1), "o": Out(values),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for lane in range(self.config.vector):
            m.submodules[f"cos_{lane}"] = by_cos = FloatMul()
            m.submodules[f"sin_{lane}"] = by_sin = FloatMul()
            m.submodules[f"add_{lane}"] = add = FloatAdd()
            b = self.b[lane]
            m.d.comb += [
                by_cos.a.eq(self.a[lane]),
                by_cos.b.eq(self.cos[lane]),
                by_sin.a.eq(Cat(b[:-1], sign_bit(b) ^ ~self.upper)),  # a product of zero is +0 with either sign
                by_sin.b.eq(self.sin[lane]),
                add.a.eq(by_cos.o),
                add.b.eq(by_sin.o),
                self.o[lane].eq(add.o),
            ]
        return m
