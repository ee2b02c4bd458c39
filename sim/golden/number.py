"""The machine's numbers in NumPy. This file is the executable form of section 1 of docs/numerics.md.

A machine float has 17 significant bits and float32's exponent range. Arrays of machine floats are float64 arrays whose
values are all representable; every operation is the float64 operation followed by `rnd`. Products (34 bits) are exact
in float64; sums, quotients and square roots of 17-bit values rounded to 53 and then 17 bits equal directly rounded ones
(53 >= 2 * 17 + 2; Figueroa, "When is double rounding innocuous?", 1995).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hw.contract.machine_float import FRACTION_BITS, MAX_FLOAT, MIN_FLOAT, Array, rnd

__all__ = ["MAX_FLOAT", "MIN_FLOAT", "Array", "Codes", "encode", "decode", "exponent", "rnd", "to_int"]

Codes = NDArray[np.int64]

def encode(value: ArrayLike) -> NDArray[np.int64]:
    """Machine floats to their 25-bit codes (the upper bits of the float32 word)."""
    words = np.asarray(value, dtype=np.float64).astype(np.float32).view(np.uint32)
    return (words >> np.uint32(23 - FRACTION_BITS)).astype(np.int64)


def decode(code: ArrayLike) -> Array:
    """25-bit codes to machine floats; a zero exponent is +0 whatever the fraction says, exponent 255 saturates."""
    words = (np.asarray(code, dtype=np.int64).astype(np.uint32)) << np.uint32(23 - FRACTION_BITS)
    with np.errstate(invalid="ignore", over="ignore"):
        x = np.atleast_1d(words).view(np.float32).astype(np.float64)
    e = (np.atleast_1d(words) >> np.uint32(23)) & np.uint32(0xFF)
    sign = np.where(np.atleast_1d(words) >> np.uint32(31), -1.0, 1.0)
    x = np.where(e == 0, 0.0, np.where(e == 255, sign * MAX_FLOAT, x))
    return x.reshape(words.shape)


def exponent(value: ArrayLike) -> NDArray[np.int64]:
    """floor(log2 |x|) of machine floats: the unbiased exponent field; -127 for zero."""
    return ((encode(value) >> FRACTION_BITS) & 0xFF) - 127


def to_int(value: ArrayLike, limit: int) -> Codes:
    """Exact float64 value to integer, half to even, saturated to -limit..limit."""
    return np.clip(np.rint(np.asarray(value, dtype=np.float64)), -limit, limit).astype(np.int64)
