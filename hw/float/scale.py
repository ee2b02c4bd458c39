"""Product of a machine float and a power of two: exact except at both ends of the range."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed

from hw.contract.machine_float import FLOAT_BITS, FRACTION_BITS
from hw.float.rounding import MAX_CODE_MAGNITUDE, MAX_EXPONENT, exponent_field, is_zero, sign_bit

__all__ = ["scaled"]


def scaled(m: Module, code: Value, shift: Value) -> Signal:
    """The code of code * 2^shift: +0 below the range, the largest float of that sign above. Combinational."""
    exponent = Signal(signed(max(len(shift), 9) + 2))
    result = Signal(FLOAT_BITS)
    m.d.comb += exponent.eq(exponent_field(code) + shift)
    with m.If(is_zero(code) | (exponent < 1)):
        m.d.comb += result.eq(0)
    with m.Elif(exponent > MAX_EXPONENT):
        m.d.comb += result.eq(Cat(Const(MAX_CODE_MAGNITUDE, FLOAT_BITS - 1), sign_bit(code)))
    with m.Else():
        m.d.comb += result.eq(Cat(code[:FRACTION_BITS], exponent[:8], sign_bit(code)))
    return result
