"""Ternary weights: the packed format of Hugging Face checkpoints, and quantisation of unpacked master weights.

Packed: with n = rows / 4, byte row b holds the output rows b, b + n, b + 2n and b + 3n in bits 1:0, 3:2, 5:4 and 7:6.
A weight is its code minus 1; code 3 is padding and decodes as 0.

Master weights: scale = max(mean |w|, 1e-5) over the whole matrix, trit = clamp(rint(w / scale), -1, 1), of the exact
quotient, half to even.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MIN_SCALE", "TernaryMatrix", "TritCounts", "count_codes", "count_trits", "from_master", "from_packed", "pack",
]

MIN_SCALE = 1e-5
"""Smallest weight scale of the quantisation of master weights."""

BLOCK_ELEMENTS = 1 << 20
"""Elements that are processed at a time, which bounds the memory."""


def _step(columns: int) -> int:
    """Rows that are processed at a time."""
    return max(1, BLOCK_ELEMENTS // columns)


_TRITS = np.array([-1, 0, 1, 0], dtype=np.int8)
_BYTE_TRITS = [_TRITS[np.arange(256) >> 2 * part & 3] for part in range(4)]


@dataclass(frozen=True)
class TritCounts:
    """Numbers of weights by value.

    Attributes:
        minus, zero, plus: weights -1, 0 and +1.
        padding: those of `zero` that are packed codes 3.
        flat: weights in blocks of rows with only one value.
    """

    minus: int = 0
    zero: int = 0
    plus: int = 0
    padding: int = 0
    flat: int = 0

    @classmethod
    def of_block(cls, minus: int, zero: int, plus: int, padding: int = 0) -> TritCounts:
        """Counts of a block of rows; `flat` follows from them."""
        size = minus + zero + plus
        return cls(minus, zero, plus, padding, size if size in (minus, zero, plus) else 0)

    def __add__(self, other: TritCounts) -> TritCounts:
        return TritCounts(self.minus + other.minus, self.zero + other.zero, self.plus + other.plus,
                          self.padding + other.padding, self.flat + other.flat)


@dataclass(frozen=True)
class TernaryMatrix:
    """A matrix [M, K] of -1, 0 and 1 that is computed block by block, so that it need not fit in memory.

    Attributes:
        shape: (outputs M, inputs K).
        scale: factor of its sums.
        counts: numbers of packed weights by value; None for master weights, whose values are only known after
            quantisation (use `count_trits` on the rows).
        rows: function that returns trits [stop - start, K] of rows start to stop.
    """

    shape: tuple[int, int]
    scale: float
    counts: TritCounts | None
    rows: Callable[[int, int], NDArray[np.int8]]

    def blocks(self, multiple: int = 1) -> Iterator[NDArray[np.int8]]:
        """All rows, in blocks of a bounded size; all blocks but the last have a multiple of `multiple` rows."""
        step = -(-_step(self.shape[1]) // multiple) * multiple
        for start in range(0, self.shape[0], step):
            yield self.rows(start, min(start + step, self.shape[0]))


def from_packed(shape: tuple[int, int], read: Callable[[slice], NDArray[np.uint8]], scale: float) -> TernaryMatrix:
    """The matrix of packed bytes of that shape [M / 4, K]; `read` gives some of their rows.

    They are read once here, and once for each of the four rows of trits that a row of bytes holds.
    """
    quarter, columns = shape
    step = _step(columns)
    counts = sum((count_codes(read(slice(start, start + step))) for start in range(0, quarter, step)), TritCounts())

    def rows(start: int, stop: int) -> NDArray[np.int8]:
        trits, done = np.empty((stop - start, columns), dtype=np.int8), 0
        while start + done < stop:
            part, first = divmod(start + done, quarter)
            some = read(slice(first, min(quarter, first + stop - start - done)))
            np.take(_BYTE_TRITS[part], some, out=trits[done : done + len(some)])
            done += len(some)
        return trits

    return TernaryMatrix((4 * quarter, columns), scale, counts, rows)


def from_master(shape: tuple[int, int], read: Callable[[slice], NDArray[np.float32]]) -> TernaryMatrix:
    """The matrix of master weights; `read` gives some of their rows. They are read once here, and once by `rows`."""
    step = _step(shape[1])
    blocks = (read(slice(start, start + step)) for start in range(0, shape[0], step))
    total = math.fsum(float(np.abs(block).sum(dtype=np.float64)) for block in blocks)
    scale = max(total / math.prod(shape), MIN_SCALE)
    # rint(w / scale) is above 0 where w > scale / 2: exact in float32, once the bound is rounded down.
    bound = np.float32(scale / 2)
    if float(bound) > scale / 2:
        bound = np.nextafter(bound, np.float32(0))

    def rows(start: int, stop: int) -> NDArray[np.int8]:
        weights = read(slice(start, stop))
        return (weights > bound).view(np.int8) - (weights < -bound).view(np.int8)

    return TernaryMatrix(shape, scale, None, rows)


def pack(trits: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Packed bytes [M / 4, K] of trits [M, K]."""
    if trits.ndim != 2 or trits.shape[0] % 4:
        raise ValueError(f"trits must be a matrix whose rows are a multiple of 4, not of shape {trits.shape}")
    if trits.size and (trits.min() < -1 or trits.max() > 1):
        raise ValueError("trits must be -1, 0 or 1")
    codes = (trits + 1).astype(np.uint8).reshape(4, -1, trits.shape[1])
    return codes[0] | codes[1] << 2 | codes[2] << 4 | codes[3] << 6


def count_codes(packed: NDArray[np.uint8]) -> TritCounts:
    """Numbers of weights by value in packed bytes, counted eight bytes at a time."""
    flat = packed.reshape(-1)
    whole = flat.size & -8
    # Zeros that fill the last word have no set bits, so they change only the remainder, which is the count of -1.
    low = high = both = 0
    for part in (flat[:whole], np.concatenate([flat[whole:], np.zeros(8 - flat.size % 8, np.uint8)])):
        words = np.ascontiguousarray(part).view(np.uint64)
        odd, even = words & 0x5555555555555555, words >> 1 & 0x5555555555555555
        low += int(np.bitwise_count(odd).sum(dtype=np.int64))
        high += int(np.bitwise_count(even).sum(dtype=np.int64))
        both += int(np.bitwise_count(odd & even).sum(dtype=np.int64))
    plus = high - both
    return TritCounts.of_block(4 * flat.size - low - plus, low, plus, both)


def count_trits(trits: NDArray[np.int8]) -> TritCounts:
    """Numbers of weights by value in a block of rows."""
    plus, minus = (int(np.count_nonzero(found)) for found in (trits > 0, trits < 0))
    return TritCounts.of_block(minus, trits.size - plus - minus, plus)
