"""Decoder from a byte of packed weights to five trits (`hw.contract.trit_code`)."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.payloads import Trit
from hw.contract.trit_code import ESCAPE, TRITS_PER_BYTE

__all__ = ["TritDecoder"]

_TRITS = (Trit.MINUS, Trit.ZERO, Trit.PLUS)


class TritDecoder(wiring.Component):
    """Decodes one byte of packed weights.

    Rules: bytes that are no code give zeros. Latency: none, the unit is combinational.

    Members:
        i: the byte.
        o: trits t0 to t4.
    """

    def __init__(self) -> None:
        super().__init__({"i": In(unsigned(8)), "o": Out(data.ArrayLayout(Trit, TRITS_PER_BYTE))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        high, low = self.i[3:], self.i[:3]
        escaped, unused = Signal(), Signal()
        long_three = Signal(6)
        three, two = Signal(5), Signal(4)
        m.d.comb += [
            escaped.eq(high >= ESCAPE),
            long_three.eq(Cat(low, (high - ESCAPE)[:3])),
            unused.eq(escaped & (long_three > 26)),
            three.eq(high),
            two.eq(low),
        ]
        with m.If(escaped):
            m.d.comb += [three.eq(long_three), two.eq(8)]
        with m.If(unused):
            m.d.comb += [three.eq(13), two.eq(4)]

        for position in range(TRITS_PER_BYTE):
            index, digit, size = (three, position, 27) if position < 3 else (two, position - 3, 9)
            table = Array(_TRITS[n // 3**digit % 3].value for n in range(size))
            m.d.comb += self.o[position].as_value().eq(table[index])
        return m
