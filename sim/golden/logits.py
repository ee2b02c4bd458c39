"""LM head and argmax. This file is section 7 of docs/numerics.md; hw/logits is its twin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.golden.number import Array, Codes, rnd

__all__ = ["argmax", "lm_head_logits"]


def lm_head_logits(a16: Codes, hs: float, rows: NDArray[np.signedinteger], row_scales: Array) -> Array:
    """One column: a16 [k] 16-bit codes of value `hs`, rows [m, k] int8 with scales [m] -> logits [m]."""
    sums = rows.astype(np.int64) @ a16.astype(np.int64)
    return rnd(rnd(sums) * rnd(hs * row_scales))


def argmax(logits: Array) -> int:
    """Index of the largest logit; ties go to the lowest id."""
    return int(np.argmax(logits))
