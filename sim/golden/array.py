"""Exact sums of a BitLinear. This file is the golden model of `hw/array/`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hw.contract.config import AccelConfig, ceil_div
from hw.contract.trit_code import decode_bytes

__all__ = ["bitlinear_sums", "unpack_matrix"]


def unpack_matrix(config: AccelConfig, packed: bytes, k: int, m: int) -> NDArray[np.int8]:
    """Trits [M, K] of packed beats, decoded as the hardware decodes them."""
    blocks, words = ceil_div(m, config.rows), ceil_div(k, config.inputs)
    if len(packed) != blocks * words * config.stream_bytes:
        raise ValueError(f"expected {blocks * words} beats of {config.stream_bytes} bytes, not {len(packed)} bytes")
    trits = decode_bytes(np.frombuffer(packed, dtype=np.uint8))
    rows = trits.reshape(blocks, words, config.rows, config.inputs).transpose(0, 2, 1, 3)
    return rows.reshape(blocks * config.rows, words * config.inputs)[:m, :k]


def bitlinear_sums(
    config: AccelConfig, activations: NDArray[np.int8], packed: bytes, k: int, m: int
) -> NDArray[np.int64]:
    """Sums [T, M] of int8 activations [T, K] and the packed beats of a ternary matrix [M, K].

    float32 multiplies, for speed, and is exact here: no partial sum exceeds 128 * 65535 < 2**24.
    """
    if k > 65535:
        raise ValueError(f"k must be at most 65535, not {k}")
    weights = unpack_matrix(config, packed, k, m)
    return (activations.astype(np.float32) @ weights.T.astype(np.float32)).astype(np.int64)
