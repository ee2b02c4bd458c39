"""The bounds of the sums of a high plane: section 7.2 of docs/numerics.md."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.bound import bounded
from hw.contract.config import AccelConfig
from hw.contract.high_plane import STEP, largest_bound, largest_reach
from hw.dot.interfaces import HeadRows, key_sum_bits

__all__ = ["BoundedSum", "bounded_sum_bits"]


def bounded_sum_bits(config: AccelConfig) -> int:
    """Signed width of a sum, or of its bound."""
    return max(key_sum_bits(config), largest_bound(config).bit_length() + 1)


class BoundedSum(wiring.Component):
    """Computes S - E and S + E of a row of the high plane, S = 17 * sum + dither. Other sums pass unchanged.

    The sum of the row of the dither, 17 - d for each input, comes before those of the plane, and is kept.

    Latency: `LATENCY` clocks. Throughput: one sum per clock.

    Members:
        i: a sum of the dot products.
        upper: the upper bound is wanted, not the lower one.
        rows: HeadRows, what the sum belongs to.
        dither_en: with HeadRows.DITHER, the sum is that of the dither.
        reach: E; steady.
        o: the bound, or the sum.
    """

    LATENCY = 3

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(signed(key_sum_bits(config))),
            "upper": In(1), "rows": In(HeadRows), "dither_en": In(1),
            "reach": In(range(largest_reach(config) + 1)),
            "o": Out(signed(bounded_sum_bits(config))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, high = self.config, self.rows == HeadRows.HIGH
        taken, dither = Signal.like(self.i), Signal.like(self.i)
        bound, offset, product = (Signal.like(self.o, name=name) for name in ("bound", "offset", "product"))
        with m.If(self.dither_en & (self.rows == HeadRows.DITHER)):
            m.d.sync += dither.eq(self.i)
        assert STEP == 17, "a shift and an addition, no multiplier"
        m.d.sync += [
            taken.eq(self.i),
            bound.eq(dither + Mux(self.upper, self.reach, -self.reach)),
            product.eq(Mux(high, (taken << 4) + taken, taken)),
            offset.eq(Mux(high, bound, 0)),
            self.o.eq(product + offset),
        ]
        largest = largest_bound(config)
        bounded(platform, self.o, "bound of a logit sum", "153 * 32767 max_hidden + reach", largest, -largest)
        return m
