"""Decoder from a byte of packed weights to five trits (`hw.contract.trit_code`)."""

from __future__ import annotations

from collections.abc import Iterable

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.payloads import Trit
from hw.contract.trit_code import ESCAPE, PAIR, THREE, TRITS_PER_BYTE

__all__ = ["TritDecoder"]


class TritDecoder(wiring.Component):
    """Decodes one byte of packed weights.

    The signs are bits of the byte, so only the group and `nonzero` of each trit take logic: nine LUTs.

    Latency: none, the unit is combinational.

    Members:
        i: the byte.
        o: trits t0 to t4.
    """

    def __init__(self) -> None:
        super().__init__({"i": In(unsigned(8)), "o": Out(data.ArrayLayout(Trit, TRITS_PER_BYTE))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pair, signs, high = self.i[:3], self.i[3:5], self.i[5:]
        group = Signal(3)
        m.d.comb += group.eq(Mux(high == ESCAPE, pair, high))

        for position, sign in enumerate((signs[0], signs[1], group[2], pair[0], pair[1])):
            trit = self.o[position]
            if position < 3:
                nonzero = _bits(entry[position] for entry in THREE).bit_select(Cat(signs, group), 1)
            else:
                nonzero = _bits(entry[position - 3] for entry in PAIR).bit_select(pair, 1) & (high != ESCAPE)
            m.d.comb += [trit.nonzero.eq(nonzero), trit.negate.eq(sign)]
        return m


def _bits(trits: Iterable[str]) -> Const:
    """A bit for each trit: whether it is not zero."""
    bits = [trit != "0" for trit in trits]
    return Const(sum(bit << n for n, bit in enumerate(bits)), len(bits))
