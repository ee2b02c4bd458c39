"""Ternary matrix to packed beats. This file is the only place that knows the order of weights in memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hw.contract.config import AccelConfig, ceil_div
from hw.contract.trit_code import encode_trits

__all__ = ["pack_matrix"]


def pack_matrix(config: AccelConfig, trits: NDArray[np.integer]) -> bytes:
    """Beats of a matrix [M, K] of -1, 0, +1, or of some of its row blocks, in the order in which the array takes them.

    Rows are padded to a multiple of R and inputs to a multiple of Kc with zeros. Beats come row block by row block and,
    inside one, input chunk by input chunk; a beat holds R rows of Kc inputs, five trits per byte.
    """
    m, k = trits.shape
    blocks, words = ceil_div(m, config.rows), ceil_div(k, config.inputs)
    padded = np.zeros((blocks * config.rows, words * config.inputs), dtype=np.int8)
    padded[:m, :k] = trits
    chunks = padded.reshape(blocks, config.rows, words, config.inputs).transpose(0, 2, 1, 3)
    return encode_trits(chunks.reshape(blocks * words, config.lanes)).tobytes()
