"""The machine float: section 1 of docs/numerics.md, for hardware, packer and golden model."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "FLOAT_BITS", "FRACTION_BITS", "MAX_FLOAT", "MIN_FLOAT", "Array", "float32_code", "float32_codes", "float_code",
    "rnd",
]

FRACTION_BITS = 16
"""Fraction bits of the machine's float; the significand has one more."""

FLOAT_BITS = 1 + 8 + FRACTION_BITS
"""Sign, 8-bit exponent (bias 127), fraction: the upper 25 bits of a float32 word. Zero is all zeros; no inf, no NaN."""

Array = NDArray[np.float64]

MAX_FLOAT = (2.0 - 2.0**-FRACTION_BITS) * 2.0**127
MIN_FLOAT = 2.0**-126
_DROP = 52 - FRACTION_BITS


def rnd(value: ArrayLike) -> Array:
    """Nearest machine float, ties to even; then below 2^-126 is +0, above the largest saturates. NaN is refused."""
    x = np.array(value, dtype=np.float64)
    if np.isnan(x).any():
        raise ValueError("NaN cannot be a machine float")
    finite = np.clip(x, -1e300, 1e300)
    bits = finite.view(np.int64) if finite.ndim else finite.reshape(1).view(np.int64)
    bits = bits + (((1 << (_DROP - 1)) - 1) + ((bits >> _DROP) & 1))
    bits &= ~((1 << _DROP) - 1)
    out = np.clip(bits.view(np.float64).reshape(x.shape), -MAX_FLOAT, MAX_FLOAT)
    return np.where(np.abs(out) < MIN_FLOAT, 0.0, out)


def float32_codes(value: ArrayLike) -> NDArray[np.uint32]:
    """`rnd`, as float32 words."""
    return rnd(value).astype("<f4").view("<u4")


def float32_code(value: float | np.floating) -> int:
    """`rnd` of one value, as a float32 word."""
    return int(float32_codes(np.float64(value)).item())


def float_code(value: float) -> int:
    """`rnd` of one value, as the FLOAT_BITS of a constant in hardware."""
    return float32_code(value) >> 32 - FLOAT_BITS
