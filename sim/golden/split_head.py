"""The split head: a token from half of the LM head's bytes. This file is section 7.2 of docs/numerics.md."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw.contract.high_plane import GUARD_FRACTION_BITS, STEP
from sim.golden.logits import argmax, lm_head_logits
from sim.golden.number import Array, Codes, rnd

__all__ = ["Bounds", "Choice", "logit_bounds", "reach", "split_choice"]


@dataclass(frozen=True)
class Bounds:
    """What the high plane says of the logits of a column, [m] each: between which numbers they lie."""

    lower: Array
    upper: Array


@dataclass(frozen=True)
class Choice:
    """The token, None if the whole head has to be read; rows that were listed, and of these, those that had their exact
    logits computed."""

    token: int | None
    listed: int
    rescored: int


def reach(a16: Codes, guarded: int) -> int:
    """How far the dot product of a row can be from what the high plane says."""
    root = math.isqrt(sum(int(a) * int(a) for a in a16)) + 1
    return (root * guarded >> GUARD_FRACTION_BITS) + 1


def logit_bounds(
    a16: Codes, hs: float, high: NDArray[np.signedinteger], complements: NDArray[np.signedinteger], scales: Array,
    guarded: int,
) -> Bounds:
    """One column: 16-bit codes a16 [k], high codes [m, k], STEP - dither [k] and row scales [m]."""
    wide = a16.astype(np.int64)
    sums = STEP * (high.astype(np.int64) @ wide) + int(complements.astype(np.int64) @ wide)
    factor, far = rnd(hs * scales), reach(a16, guarded)
    return Bounds(rnd(rnd(sums - far) * factor), rnd(rnd(sums + far) * factor))


def split_choice(
    bounds: Bounds, a16: Codes, hs: float, rows: NDArray[np.signedinteger], scales: Array, candidates: int
) -> Choice:
    """The row with the largest logit of int8 rows [m, k], if the bounds hold and at most `candidates` are listed."""
    listed = bounds.upper >= np.maximum.accumulate(bounds.lower)
    count = int(listed.sum())
    if count > candidates:
        return Choice(None, candidates, 0)
    least = bounds.lower.max()
    left = np.flatnonzero(listed & (bounds.upper >= least))
    if not left.size:
        return Choice(None, count, 0)
    logits = lm_head_logits(a16, hs, rows[left], scales[left])
    best = argmax(logits)
    holds = (logits <= bounds.upper[left]).all() and logits[best] >= least
    return Choice(int(left[best]) if holds else None, count, len(left))
