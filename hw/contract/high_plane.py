"""The high plane of a split head: four bits of each code of the LM head, and where they lie in their packet."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw.contract.config import AccelConfig, ceil_div
from hw.contract.head_layout import HeadLayout

__all__ = [
    "ERROR_VARIANCE", "GUARD_BITS", "GUARD_FRACTION_BITS", "STEP", "HighPlane", "guard", "high_codes", "largest_bound",
    "largest_reach",
]

STEP = 17
"""Code and dither, w + 127 + d with w in -127..127 and d in 0..16, are STEP * (n + 8) + rest, with n in -8..7. 17 is
the smallest step for which n has four bits."""

ERROR_VARIANCE = (STEP * STEP - 1) // 12
"""Variance of the rest, 0..16 with equal probability over the dither: 24."""

GUARD_FRACTION_BITS = 8
"""Fraction bits of the register GUARD."""

GUARD_BITS = 16
"""Bits of the register GUARD."""


def guard(deviations: float) -> int:
    """Value of the register GUARD for so many standard deviations."""
    return math.ceil(deviations * math.sqrt(ERROR_VARIANCE) * 2**GUARD_FRACTION_BITS)


def high_codes(codes: NDArray[np.integer], dither: NDArray[np.integer]) -> NDArray[np.int8]:
    """Rows of int8 codes [m, k] and dither [k], 0..16 -> the codes of the high plane, -8..7."""
    return ((codes.astype(np.int16) + 127 + dither) // STEP - 8).astype(np.int8)


def largest_reach(config: AccelConfig) -> int:
    """Largest distance between a sum of the high plane and its bounds: section 7.2 of docs/numerics.md."""
    root = math.isqrt(config.max_hidden * 32767 * 32767) + 1
    return (root * (2**GUARD_BITS - 1) >> GUARD_FRACTION_BITS) + 1


def largest_bound(config: AccelConfig) -> int:
    """Largest magnitude of the sum of a row of the high plane, of the dither, and of the reach."""
    return (8 * STEP + STEP) * 32767 * config.max_hidden + largest_reach(config)


@dataclass(frozen=True)
class HighPlane:
    """The payload of a LM_HEAD packet with flag HIGH, in beats of the packet stream.

    It is laid out as the head (`HeadLayout`): groups of P s rows, each with a beat of scales. The first group has rows
    of int8, of which row 0 holds STEP - d of each input and the others are 0, as are its scales. In the groups behind
    it a beat holds twice as many elements: with B bytes in a beat of a port, the low four bits of byte b of beat n of a
    row are the signed code of element 2 n B + b, the high four bits that of element (2 n + 1) B + b.

    Args:
        config: its ports and port_bits count.
        hidden: elements of a row.
        vocab: rows.
    """

    config: AccelConfig
    hidden: int
    vocab: int

    @property
    def dither(self) -> HeadLayout:
        """The layout of the first group, a head with one row."""
        return HeadLayout(self.config, self.hidden, 1)

    @property
    def packed(self) -> HeadLayout:
        """The layout of the groups behind it: that of a head with so many bytes in a row."""
        return HeadLayout(self.config, self.row_beats * self.config.beat_bytes, self.vocab)

    @property
    def row_beats(self) -> int:
        """Beats of a row of codes of four bits, padded with zeros."""
        return ceil_div(self.hidden, 2 * self.config.beat_bytes)

    @property
    def payload_bytes(self) -> int:
        """Bytes of the payload."""
        return self.dither.payload_bytes + self.packed.payload_bytes
