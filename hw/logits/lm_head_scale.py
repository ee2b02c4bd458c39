"""Scales of the LM head's 16-bit activation codes: the shift that makes them and the value of one (numerics.md, 7)."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.contract.machine_float import FLOAT_BITS, FRACTION_BITS
from hw.float.rounding import BIAS
from hw.float.scale import scaled

__all__ = ["LmHeadScale"]

CODE_EXPONENT = 14
"""The largest activation lies in 2^14..2^15."""


class LmHeadScale(wiring.Component):
    """Computes shift = 14 - E for `Quantize` and hs = rstd * 2^(E - 14) for `LogitReader`.

    E is the exponent of absmax, -127 for zero.

    Latency: LATENCY clock, no back-pressure.

    Members:
        rstd, absmax: machine floats of NormScale and NormStatistics.
        shift: signed.
        hs: machine float.
    """

    LATENCY = 1

    def __init__(self) -> None:
        super().__init__({
            "rstd": In(FLOAT_BITS),
            "absmax": In(FLOAT_BITS),
            "shift": Out(signed(9)),
            "hs": Out(FLOAT_BITS),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shift, back = Signal(signed(9)), Signal(signed(9))
        field = self.absmax[FRACTION_BITS : FRACTION_BITS + 8]
        m.d.comb += [shift.eq(CODE_EXPONENT + BIAS - field), back.eq(-shift)]
        m.d.sync += [self.shift.eq(shift), self.hs.eq(scaled(m, self.rstd, back))]
        return m
