"""The packing of five ternary weights into one byte. This file is the only place that knows the code.

A byte holds two table indices: `three` (t0, t1, t2, base 3, 0 to 26) and `two` (t3, t4, base 3, 0 to 8). Most codes
are the plain pair `three:5, two:3`; `two == 8` does not fit in three bits and escapes to the 40 codes from 27 << 3 on,
of which 27 are used. Splitting such a byte back into its two indices takes nine LUTs, a base-3 ROM takes far more.
The 13 unused codes decode to five zeros.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DECODE", "ENCODE", "ESCAPE", "TRITS_PER_BYTE", "ZERO_BYTE", "decode_bytes", "decode_indices", "encode_trits",
]

TRITS_PER_BYTE = 5
"""Weights in one byte."""

ESCAPE = 27
"""Values of the upper five bits from here on mean: two == 8, and the index `three` is in the other bits."""


def _encode_one(three: int, two: int) -> int:
    """The byte of a pair of table indices."""
    if two < 8:
        return three << 3 | two
    return (ESCAPE + (three >> 3)) << 3 | (three & 7)


def decode_indices(byte: int) -> tuple[int, int]:
    """The pair (three, two) of a byte; an unused code gives the indices of five zeros."""
    high, low = byte >> 3, byte & 7
    three, two = (high, low) if high < ESCAPE else (8 * (high - ESCAPE) + low, 8)
    return (three, two) if three < 27 else (13, 4)


def _decode_one(byte: int) -> list[int]:
    three, two = decode_indices(byte)
    return [three % 3 - 1, three // 3 % 3 - 1, three // 9 - 1, two % 3 - 1, two // 3 - 1]


DECODE: NDArray[np.int8] = np.array([_decode_one(byte) for byte in range(256)], dtype=np.int8)
"""[256, 5]: the trits t0 to t4 of every byte."""

ENCODE: NDArray[np.uint8] = np.array([_encode_one(n % 27, n // 27) for n in range(243)], dtype=np.uint8)
"""[243]: the byte of the base-3 number sum((t[i] + 1) * 3**i)."""

ZERO_BYTE = int(ENCODE[121])
"""The byte of five zeros; padding."""

_ENCODE_SUM = np.zeros(256, dtype=np.uint8)
_ENCODE_SUM[np.arange(-121, 122)] = ENCODE
"""[256]: the byte of the number sum(t[i] * 3**i), -121 to 121, modulo 256."""


def encode_trits(trits: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Bytes of an array of -1, 0, +1 whose last axis is a multiple of five; that axis becomes five times shorter."""
    if trits.shape[-1] % TRITS_PER_BYTE:
        raise ValueError(f"the last axis must be a multiple of {TRITS_PER_BYTE}, not {trits.shape[-1]}")
    if trits.size and (trits.min() < -1 or trits.max() > 1):
        raise ValueError(f"trits must be -1, 0 or 1, not {trits.min()} to {trits.max()}")
    digits = trits.astype(np.int8, copy=False).reshape(*trits.shape[:-1], -1, TRITS_PER_BYTE)
    total = digits[..., TRITS_PER_BYTE - 1].copy()
    for n in reversed(range(TRITS_PER_BYTE - 1)):
        total *= 3
        total += digits[..., n]
    return _ENCODE_SUM[total.view(np.uint8)]


def decode_bytes(packed: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Trits of an array of bytes; the last axis becomes five times longer."""
    return DECODE[packed].reshape(*packed.shape[:-1], packed.shape[-1] * TRITS_PER_BYTE)
