"""Heads whose length is no multiple of HEAD_UNIT: each half is padded, in the rows, columns and weights that meet them.

Rows of zeros in q, k and v make elements of zero, which change neither scores nor other outputs, and columns of zeros
in o ignore them. So the hardware only sees lengths that fit its words and beats, and the numbers stay those of the
model: padding does not depend on the configuration.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hw.contract.config import HEAD_UNIT, ceil_div
from sw.ternary import TernaryMatrix

__all__ = ["pad_inputs", "pad_outputs", "padded_head", "padded_weights"]


def padded_head(head_dim: int) -> int:
    """Elements of a head of `head_dim`, an even number, with padding behind each half."""
    return 2 * ceil_div(head_dim, HEAD_UNIT) * (HEAD_UNIT // 2)


def _sources(elements: int, head_dim: int) -> NDArray[np.intp]:
    """For each element of padded heads, its place among `elements` elements without padding, or -1."""
    half, padded = head_dim // 2, padded_head(head_dim) // 2
    result = np.full((elements // half, padded), -1)
    result[:, :half] = np.arange(elements).reshape(-1, half)
    return result.ravel()


def padded_weights(values: NDArray[np.float32], head_dim: int) -> NDArray[np.float32]:
    """Norm weights of heads; those of padding are zero."""
    sources = _sources(len(values), head_dim)
    return np.where(sources < 0, np.float32(0), values[sources])


def pad_inputs(matrix: TernaryMatrix, head_dim: int) -> TernaryMatrix:
    """The matrix with columns of zeros where its inputs are padding."""
    sources = _sources(matrix.shape[1], head_dim)
    used = sources >= 0

    def rows(start: int, stop: int) -> NDArray[np.int8]:
        result = np.zeros((stop - start, len(sources)), dtype=np.int8)
        result[:, used] = matrix.rows(start, stop)
        return result

    return TernaryMatrix((matrix.shape[0], len(sources)), matrix.scale, matrix.counts, rows)


def pad_outputs(matrix: TernaryMatrix, head_dim: int) -> TernaryMatrix:
    """The matrix with rows of zeros where its outputs are padding."""
    sources = _sources(matrix.shape[0], head_dim)

    def rows(start: int, stop: int) -> NDArray[np.int8]:
        wanted = sources[start:stop]
        used = wanted >= 0
        result = np.zeros((stop - start, matrix.shape[1]), dtype=np.int8)
        if used.any():  # the places are consecutive
            result[used] = matrix.rows(int(wanted[used][0]), int(wanted[used][-1]) + 1)
        return result

    return TernaryMatrix((len(sources), matrix.shape[1]), matrix.scale, matrix.counts, rows)
