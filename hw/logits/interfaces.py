"""Payloads of the LM head. It works on groups of columns: row n of the dot products is the n-th column of the group."""

from __future__ import annotations

from amaranth.hdl import unsigned
from amaranth.lib import data

from hw.contract.config import BLOCK_POSITIONS, AccelConfig
from hw.contract.head_layout import HeadLayout
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.shortlist import SCALE_FRACTION_BITS

__all__ = [
    "POWER_SCALE", "best_row", "bound_word", "candidate", "column_of", "head_block", "head_scale", "lm_head_command",
    "logit_word", "logits_row",
]


POWER_SCALE = unsigned(8 + SCALE_FRACTION_BITS)
"""A float32 without its sign, above 0."""


def column_of(config: AccelConfig) -> range:
    """A column of a group."""
    return range(max(2, config.head_columns))


def lm_head_command(config: AccelConfig) -> data.StructLayout:
    """Columns of the group, port beats of a row of int8, and rows; each at least 1. Of a high plane the two bounds of a
    logit are columns."""
    return data.StructLayout({
        "columns": range((max(2, config.head_columns) if config.candidates else config.head_columns) + 1),
        "row_beats": range(HeadLayout.longest(config).row_beats + 1),
        "m": range(config.max_vocab + 1),
    })


def head_scale(config: AccelConfig) -> data.StructLayout:
    """The value `hs` of one activation code of a column, a machine float."""
    return data.StructLayout({"column": column_of(config), "hs": unsigned(FLOAT_BITS)})


def head_block(config: AccelConfig) -> data.StructLayout:
    """A block of rows whose sums are complete: its bank, and its rows with their padding, 1 to 64. `first` and `last`
    mark the first and last block of a command. With a split head, a block of a rescored row also has its `candidate`.
    """
    return data.StructLayout({
        "bank": unsigned(1), "rows": range(BLOCK_POSITIONS + 1), "first": 1, "last": 1,
        **({"candidate": candidate(config)} if config.candidates else {}),
    })


def logit_word(config: AccelConfig) -> data.StructLayout:
    """One logit: its column and row, and its 25-bit code. `padding` marks rows behind the vocabulary, whose logit is 0,
    `last` the last row with its padding, for each column.

    With a split head, `first` marks the first row of each column. A logit of the high plane is a bound, the lower one
    in column 0 and the upper one in column 1, and `beside` is the scale of the row; of a rescored row it is the upper
    bound.
    """
    return data.StructLayout({
        "column": column_of(config),
        "row": range(HeadLayout.longest(config).groups * HeadLayout.longest(config).group_rows),
        "logit": unsigned(FLOAT_BITS), "padding": 1, "last": 1,
        **({"first": 1, "beside": unsigned(FLOAT_BITS)} if config.candidates else {}),
    })


def best_row(config: AccelConfig) -> data.StructLayout:
    """The row with the largest logit of a column, and that logit. With a split head, `failed` says that the high plane
    does not tell: the whole head is to be read."""
    return data.StructLayout({
        "column": column_of(config), "row": range(max(2, config.max_vocab)), "logit": unsigned(FLOAT_BITS),
        **({"failed": 1} if config.candidates else {}),
    })


def logits_row(config: AccelConfig) -> data.StructLayout:
    """Where the logits of a column, or its shortlist, go. With shortlists also `scale`, of the logits in their sum."""
    place = {"column": column_of(config), "address": unsigned(config.address_bits)}
    return data.StructLayout(place | ({"scale": POWER_SCALE} if config.shortlist else {}))


def bound_word(config: AccelConfig) -> data.StructLayout:
    """A bound of the logit of a row of a split head, and the scale of the row: of each row the lower bound, then that
    with `upper`. `padding` and `last` as in `logit_word`, the same for both."""
    word = logit_word(config).members
    return data.StructLayout({
        "upper": 1, "row": word["row"], "bound": FLOAT_BITS, "scale": FLOAT_BITS, "padding": 1, "last": 1,
    })


def candidate(config: AccelConfig) -> data.StructLayout:
    """A row whose exact logit has to be computed: its scale, and the upper bound of its logit. `first` and `last` mark
    the first and last row of a column."""
    return data.StructLayout({
        "row": range(max(2, config.max_vocab)), "scale": FLOAT_BITS, "upper": FLOAT_BITS, "first": 1, "last": 1,
    })
