"""This file rotates queries and keys by their position."""

from __future__ import annotations

from amaranth.hdl import Cat, EnableInserter, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import column_values
from hw.float.add import FloatAdd
from hw.float.compare import negate
from hw.float.mul import FloatMul
from hw.watch import watch_stream

__all__ = ["Rope", "RotateElement", "rope_pairs", "rope_result"]


def rope_pairs(config: AccelConfig) -> data.StructLayout:
    """V elements of the lower half of a head, their partners in the upper half, and cos and sin of each pair."""
    values = column_values(config)
    return data.StructLayout({"low": values, "high": values, "cos": values, "sin": values})


def rope_result(config: AccelConfig) -> data.StructLayout:
    """V rotated elements of the lower half and their partners in the upper half."""
    return data.StructLayout({"low": column_values(config), "high": column_values(config)})


class RotateElement(wiring.Component):
    """One pair: o_low = low * cos - high * sin, o_high = high * cos + low * sin; every operation rounds.

    Four multipliers, then two adders; one pair per clock.

    Members:
        low, high, cos, sin: 25-bit codes.
        o_low, o_high: LATENCY clocks later.
    """

    LATENCY = FloatMul.LATENCY + FloatAdd.LATENCY

    def __init__(self):
        super().__init__({
            **dict.fromkeys(("low", "high", "cos", "sin"), In(FLOAT_BITS)),
            **dict.fromkeys(("o_low", "o_high"), Out(FLOAT_BITS)),
        })

    def elaborate(self, platform):
        m = Module()
        products = {}
        for half in ("low", "high"):
            for factor in ("cos", "sin"):
                m.submodules[f"{half}_{factor}"] = multiply = FloatMul()
                m.d.comb += [multiply.a.eq(getattr(self, half)), multiply.b.eq(getattr(self, factor))]
                products[half, factor] = multiply.o
        m.submodules.add_low = add_low = FloatAdd()
        m.submodules.add_high = add_high = FloatAdd()
        m.d.comb += [
            add_low.a.eq(products["low", "cos"]),
            add_low.b.eq(negate(products["high", "sin"])),
            add_high.a.eq(products["high", "cos"]),
            add_high.b.eq(products["low", "sin"]),
            self.o_low.eq(add_low.o),
            self.o_high.eq(add_high.o),
        ]
        return m


class Rope(wiring.Component):
    """Rotary position embedding of section 5 of docs/numerics.md: element i is paired with element i + d/2.

    Cycles: V pairs per clock, LATENCY clocks from a word to its result. A result that is not taken stops the whole
    pipeline; empty places do not close up.

    Members:
        i: pairs and their angles.
        o: rotated pairs, in order.
    """

    LATENCY = RotateElement.LATENCY

    def __init__(self, config: AccelConfig):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(rope_pairs(config))),
            "o": Out(stream.Signature(rope_result(config))),
        })

    def elaborate(self, platform):
        m = Module()
        watch_stream(m, platform, self.o, "o")
        advance = Signal()
        valid = Signal(self.LATENCY)
        m.d.comb += [
            self.o.valid.eq(valid[-1]),
            advance.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(advance),
        ]
        with m.If(advance):
            m.d.sync += valid.eq(Cat(self.i.valid, valid[:-1]))
        for lane in range(self.config.vector):
            element = RotateElement()
            m.submodules[f"lane_{lane}"] = EnableInserter(advance)(element)
            for name in ("low", "high", "cos", "sin"):
                m.d.comb += getattr(element, name).eq(self.i.payload[name][lane])
            m.d.comb += [
                self.o.payload.low[lane].eq(element.o_low),
                self.o.payload.high[lane].eq(element.o_high),
            ]
        return m
