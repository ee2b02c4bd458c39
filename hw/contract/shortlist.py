"""The shortlist of a column: its best rows and the sum of the powers of all, as the LM head writes it to memory."""

from __future__ import annotations

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from hw.contract.config import AccelConfig, ceil_div

__all__ = [
    "FRACTION_BITS", "INDEX_BITS", "MANTISSA_BITS", "SCALE_FRACTION_BITS", "SHORTLIST", "SHORTLIST_ROWS",
    "SUM_FRACTION_BITS", "WHOLE_BITS", "power_table", "record_beats",
]

SHORTLIST_ROWS = 64
"""Rows of a list."""

SCALE_FRACTION_BITS = 23
"""Fraction bits of the scale of the logits, a float32: log2(e) / temperature."""

WHOLE_BITS = 19
FRACTION_BITS = 20
"""A scaled logit is a sign, and so many bits before and behind the binary point."""

MANTISSA_BITS = 24
"""Fraction bits of an entry of the table of powers."""

INDEX_BITS = 9
"""The uppermost fraction bits of a scaled logit select the entry; the others interpolate."""

SUM_FRACTION_BITS = MANTISSA_BITS + FRACTION_BITS - INDEX_BITS
"""Fraction bits of the sum, 35: an interpolated power is exact in them."""

SHORTLIST = data.StructLayout({
    "sum": unsigned(64),       # of 2^(scaled logit - reference), with SUM_FRACTION_BITS fraction bits
    "reference": signed(32),   # an integer above all scaled logits, at most 1 above the largest
    "count": unsigned(32),     # rows in the list: SHORTLIST_ROWS, or the vocabulary if that is smaller
    "rows": data.ArrayLayout(data.StructLayout({
        "row": unsigned(32),
        "logit": unsigned(32),  # a float32
    }), SHORTLIST_ROWS),       # largest logit first, of equal ones the lowest row; behind `count` they are 0
})
"""The record, 528 bytes little endian."""


def record_beats(config: AccelConfig) -> int:
    """Beats of a record; bytes behind it in the last one are 0."""
    return ceil_div(SHORTLIST.size // 8, config.beat_bytes)


def power_table() -> list[int]:
    """A_0 to A_512: A_j = rint(2^24 * 2^(-j / 512))."""
    entries = 1 << INDEX_BITS
    return [round(2.0 ** (MANTISSA_BITS - j / entries)) for j in range(entries + 1)]
