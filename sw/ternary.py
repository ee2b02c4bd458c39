"""Ternary weights: the packed format of Hugging Face checkpoints, and quantisation of master weights.

With n = rows / 4, byte row b holds the output rows b, b + n, b + 2n and b + 3n in bits 1:0, 3:2, 5:4 and 7:6.
A weight is its code minus 1; code 3 is padding and decodes as 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["MIN_SCALE", "count_padding", "pack", "quantize", "unpack"]

MIN_SCALE = 1e-5
"""Smallest weight scale of the online quantisation."""

_TRITS = np.array([-1, 0, 1, 0], dtype=np.int8)


def unpack(packed: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Trits [4n, K] of packed bytes [n, K]."""
    if packed.ndim != 2 or packed.dtype != np.uint8:
        raise ValueError(f"packed weights must be a uint8 matrix, not {packed.dtype} of shape {packed.shape}")
    rows, columns = packed.shape
    trits = np.empty((4, rows, columns), dtype=np.int8)
    for part in range(4):
        np.take(_TRITS, (packed >> (2 * part)) & 3, out=trits[part])
    return trits.reshape(4 * rows, columns)


def pack(trits: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Packed bytes [M / 4, K] of trits [M, K]."""
    if trits.ndim != 2 or trits.shape[0] % 4:
        raise ValueError(f"trits must be a matrix whose rows are a multiple of 4, not of shape {trits.shape}")
    if trits.size and (trits.min() < -1 or trits.max() > 1):
        raise ValueError("trits must be -1, 0 or 1")
    codes = (trits + 1).astype(np.uint8).reshape(4, -1, trits.shape[1])
    return codes[0] | codes[1] << 2 | codes[2] << 4 | codes[3] << 6


def count_padding(packed: NDArray[np.uint8]) -> int:
    """Number of codes 3 in packed bytes."""
    both = packed & (packed >> 1) & 0x55
    return int(np.bitwise_count(both).sum(dtype=np.int64))


def quantize(weights: NDArray[np.floating]) -> tuple[NDArray[np.int8], float]:
    """Trits and scale of master weights: scale = max(mean |w|, 1e-5), trit = clamp(rint(w / scale), -1, 1)."""
    wide = np.asarray(weights, dtype=np.float64)
    scale = max(float(np.abs(wide).mean()), MIN_SCALE)
    return np.clip(np.rint(wide / scale), -1, 1).astype(np.int8), scale
