"""This file computes powers of two for the softmax."""

from __future__ import annotations

import itertools

from amaranth.hdl import Const, Module, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from hw.bound import bounded
from hw.contract.machine_float import FLOAT_BITS
from hw.float.to_int import FloatToInt

__all__ = ["Exp2", "exp2_table"]

POWER_BITS = 17
"""A power of two with scale 2^-16: 0..65536."""

_MAX_ARGUMENT = 2**21 - 1
"""Largest argument code: just below 32, where the result is 0 long since."""

_VALUE_BITS = 18
"""A_0 = 2^17 is the largest number of the table."""


def exp2_table() -> list[int]:
    """A_0..A_256 of section 5 of docs/numerics.md: A_j = rint(2^17 * 2^(-j/256))."""
    return [round(2.0 ** (17 - j / 256)) for j in range(257)]


class Exp2(wiring.Component):
    """Computes o = 2^-d with scale 2^-16, one result per clock: the `exp2` of section 5 of docs/numerics.md.

    The argument becomes a fixed-point number of 5 + 16 bits. Its whole part shifts, the next eight bits address a table
    of 256 words {A_j, A_j - A_(j+1)}, and the last eight interpolate with one 9 x 8 multiplier. The six stages are: two
    of `FloatToInt`; table; product; difference; shift and round.

    Members:
        i: argument d >= 0, 25-bit code.
        o: 0..65536, LATENCY clocks after its argument.
    """

    LATENCY = FloatToInt.LATENCY + 4

    def __init__(self):
        super().__init__({"i": In(FLOAT_BITS), "o": Out(POWER_BITS)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.to_int = to_int = FloatToInt(width=22, limit=_MAX_ARGUMENT, shift_bits=5)
        argument = Signal(21)
        m.d.comb += [to_int.i.eq(self.i), to_int.shift.eq(16), argument.eq(to_int.o.as_unsigned()[:21])]

        values = exp2_table()
        drops = [here - following for here, following in itertools.pairwise(values)]
        word = data.StructLayout({"value": _VALUE_BITS, "drop": max(drops).bit_length()})
        m.submodules.table = table = memory.Memory(
            shape=word, depth=256,
            init=[{"value": value, "drop": drop} for value, drop in zip(values, drops, strict=False)],
        )
        read = table.read_port()
        entry = Signal(word)
        m.d.comb += [read.addr.eq(argument[8:16]), read.en.eq(1), entry.eq(read.data)]

        fraction_3 = Signal(8)
        shift_3, shift_4, shift_5 = Signal(5), Signal(5), Signal(5)
        value_4 = Signal(_VALUE_BITS)
        product_4 = Signal(len(entry.drop) + 8)
        power_5 = Signal(_VALUE_BITS + 8)
        m.d.sync += [
            fraction_3.eq(argument[:8]),
            shift_3.eq(argument[16:]),
            value_4.eq(entry.value),
            product_4.eq(entry.drop * fraction_3),
            shift_4.eq(shift_3),
            # Never negative: a table word is far above its drop.
            power_5.eq(((value_4 << 8) - product_4).as_unsigned()[:len(power_5)]),
            shift_5.eq(shift_4),
        ]
        # Half up: what lies below the half bit of the result never matters.
        doubled = Signal(_VALUE_BITS)
        m.d.comb += doubled.eq(power_5[8:] >> shift_5)
        m.d.sync += self.o.eq((doubled + Const(1, 1)) >> 1)
        bounded(platform, self.o, "p", "65536", 1 << 16)
        return m
