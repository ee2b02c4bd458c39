"""Comparison and sign of machine floats: functions on canonical 25-bit codes."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Value

from hw.contract.machine_float import FLOAT_BITS
from hw.float.rounding import sign_bit

__all__ = ["absolute", "float_greater", "magnitude", "negate"]


def magnitude(a: Value) -> Value:
    """The code without its sign, 24 bits: magnitudes order like these unsigned numbers."""
    return Value.cast(a[:FLOAT_BITS - 1])


def absolute(a: Value) -> Value:
    """|a|, 25 bits."""
    return Value.cast(Cat(magnitude(a), Const(0, 1)))


def negate(a: Value) -> Value:
    """-a, 25 bits; zero stays +0."""
    return Value.cast(Cat(magnitude(a), ~sign_bit(a) & magnitude(a).any()))


def float_greater(a: Value, b: Value) -> Value:
    """1 when a > b."""
    return _ordered(a) > _ordered(b)


def _ordered(a: Value) -> Value:
    """An unsigned number that orders like the float: negative codes are complemented, others get the top bit."""
    return Value.cast(Cat(magnitude(a) ^ sign_bit(a).replicate(FLOAT_BITS - 1), ~sign_bit(a)))
