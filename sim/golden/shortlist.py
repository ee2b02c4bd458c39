"""The shortlist of a column: best rows, and the sum of the powers. This file is section 7.1 of docs/numerics.md."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw.contract.record import record_dtype
from hw.contract.shortlist import (
    FRACTION_BITS,
    INDEX_BITS,
    SHORTLIST,
    SHORTLIST_ROWS,
    WHOLE_BITS,
    power_table,
)
from sim.golden.number import Array, Codes

__all__ = ["PowerSum", "best_rows", "power_sum", "powers", "record", "scaled_logits"]

_LARGEST = (1 << (WHOLE_BITS + FRACTION_BITS)) - 1
_TABLE = np.array(power_table(), dtype=np.int64)
_REST_BITS = FRACTION_BITS - INDEX_BITS


@dataclass(frozen=True)
class PowerSum:
    """Sum of 2^(x - reference) over the scaled logits x, in units of 2^-SUM_FRACTION_BITS."""

    sum: int
    reference: int


def best_rows(logits: Array) -> NDArray[np.intp]:
    """Rows of the largest logits, largest first, of equal ones the lowest first."""
    return np.argsort(-logits, kind="stable")[:SHORTLIST_ROWS]


def scaled_logits(logits: Array, scale: float) -> Codes:
    """Machine floats times a float32, towards 0, with FRACTION_BITS fraction bits; saturated."""
    exact = np.abs(logits) * float(np.float32(scale))  # 17 + 24 bits
    with np.errstate(over="ignore"):
        whole = np.minimum(np.floor(exact * 2.0**FRACTION_BITS), _LARGEST)
    return np.where(logits < 0, -whole, whole).astype(np.int64)


def powers(below: Codes) -> Codes:
    """2^-d of distances d above 0 with FRACTION_BITS fraction bits, in units of 2^-SUM_FRACTION_BITS."""
    rest = below & (1 << _REST_BITS) - 1
    index = below >> _REST_BITS & (1 << INDEX_BITS) - 1
    here = _TABLE[index]
    power = (here << _REST_BITS) - (here - _TABLE[index + 1]) * rest
    places = np.minimum(below >> FRACTION_BITS, 62)
    return (power + (np.int64(1) << places >> 1)) >> places


def power_sum(logits: Array, scale: float) -> PowerSum:
    """The sum over the rows in their order. A row that is not below the reference raises it first: the sum so far
    loses as many bits."""
    x = scaled_logits(logits, scale)
    references = np.maximum.accumulate((x >> FRACTION_BITS) + 1)
    terms = powers((references << FRACTION_BITS) - x)
    starts = np.flatnonzero(np.diff(references, prepend=references[0] - 1))
    total, before = 0, int(references[0])
    for part, reference in zip(np.add.reduceat(terms, starts), references[starts], strict=True):
        total = (total >> int(reference) - before) + int(part)
        before = int(reference)
    return PowerSum(total, before)


def record(logits: Array, scale: float) -> bytes:
    """The record SHORTLIST of a column, without the zeros behind it in its last beat."""
    content = np.zeros((), dtype=record_dtype(SHORTLIST))
    best, total = best_rows(logits), power_sum(logits, scale)
    content["sum"], content["reference"], content["count"] = total.sum, total.reference, len(best)
    content["rows"]["row"][: len(best)] = best
    content["rows"]["logit"][: len(best)] = logits[best].astype("<f4").view("<u4")
    return content.tobytes()
