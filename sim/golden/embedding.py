"""Embedding look-up. This file is section 2 of docs/numerics.md; hw/embedding is its twin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hw.contract.config import AccelConfig
from sim.golden.number import Array, rnd

__all__ = ["embedding_row"]


def embedding_row(config: AccelConfig, row: NDArray[np.uint8], hidden: int) -> Array:
    """Machine floats [hidden] of one table row as it lies in memory."""
    if config.embedding_bits == 16:
        words = row[: 2 * hidden].copy().view("<u2").astype(np.uint32) << 16
        return rnd(words.view(np.float32))
    scale = float(row[:4].copy().view("<f4")[0])
    body = row[config.beat_bytes :]
    if config.embedding_bits == 8:
        codes = body[:hidden].view(np.int8).astype(np.int64)
    else:
        triples = body[: 3 * hidden // 2].astype(np.int64).reshape(-1, 3)
        word = triples[:, 0] | triples[:, 1] << 8 | triples[:, 2] << 16
        codes = np.stack([word & 0xFFF, word >> 12], axis=-1).ravel()
        codes = np.where(codes >= 0x800, codes - 0x1000, codes)
    return rnd(codes * scale)
