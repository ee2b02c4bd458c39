"""Payloads between the units of attention. `KvLayout` (hw/contract/kv_layout.py) has the order of the beats.

Attention works on passes. A pass is up to D query rows (query heads of columns of one sequence, all of one KV head)
that share the beats of keys and values. A pass reads its blocks of 64 positions in order; pass after pass, the blocks
are numbered, and the number selects the banks of the memories between the units.
"""

from __future__ import annotations

from amaranth.hdl import unsigned
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import BLOCK_POSITIONS, AccelConfig
from hw.contract.kv_layout import KvLayout
from hw.contract.machine_float import FLOAT_BITS
from hw.dot.interfaces import row_words, softmax_sets

__all__ = ["RowKind", "output_job", "query_scale", "record_read", "row_command", "softmax_job"]


class RowKind(enum.Enum, shape=2):
    """What a row of the scratchpad becomes."""

    QUERY = 0
    KEY = 1
    VALUE = 2


def row_command(config: AccelConfig) -> data.StructLayout:
    """A row to read: its column, its first word in the column, words of V in half a head, words of V of the padded row
    (keys and queries), and what for. `row` and `bank` are those of the operand memory (queries), `scale_bank` that of
    the query scales."""
    return data.StructLayout({
        "kind": RowKind,
        "column": unsigned(config.column_bits),
        "base": unsigned(config.word_bits),
        "half_words": range(row_words(config) + 1),
        "padded_words": range(row_words(config) + 1),
        "row": range(config.query_rows),
        "bank": unsigned(1),
        "scale_bank": unsigned(2),
    })


def query_scale(config: AccelConfig) -> data.StructLayout:
    """The scale of a query row."""
    return data.StructLayout({"bank": unsigned(2), "row": range(config.query_rows), "scale": FLOAT_BITS})


def softmax_job(config: AccelConfig) -> data.StructLayout:
    """A block whose score sums are complete.

    `items` positions get a weight, a multiple of E; of these, row r has `valid[r]` positions, and the others get weight
    0. `sets` sets of rows are in use. `first` and `last` mark the first and last block of a pass. `record` are the
    lowest two bits of the number of the block, `bank` the lowest; `scale_bank` those of the number of the pass.
    """
    return data.StructLayout({
        "bank": unsigned(1), "record": unsigned(2), "scale_bank": unsigned(2),
        "items": range(BLOCK_POSITIONS + 1), "sets": range(softmax_sets(config) + 1),
        "first": 1, "last": 1,
        "valid": data.ArrayLayout(range(BLOCK_POSITIONS + 1), config.query_rows),
    })


def output_job(config: AccelConfig) -> data.StructLayout:
    """A block whose value sums and softmax record are complete: `rows` rows of `words` words of P sums each. With
    `last`, the outputs of row r go to `column[r]`, from word `base[r]` on."""
    return data.StructLayout({
        "bank": unsigned(1), "record": unsigned(2), "last": 1,
        "rows": range(config.query_rows + 1),
        "words": range(KvLayout.longest(config).value_group_beats + 1),
        "column": data.ArrayLayout(unsigned(config.column_bits), config.query_rows),
        "base": data.ArrayLayout(unsigned(config.word_bits), config.query_rows),
    })


def record_read(config: AccelConfig) -> wiring.Signature:
    """What a block does to the output of a query row: acc = acc * alpha + F(sum) * 2^(exponent - 143).

    `exponent` is the exponent field of the largest value scale of the valid positions, 0 without one. `inverse` is 1/l
    in the record of a last block.
    """
    return wiring.Signature({
        "record": Out(unsigned(2)), "row": Out(range(config.query_rows)),
        "alpha": In(FLOAT_BITS), "exponent": In(8), "inverse": In(FLOAT_BITS),
    })
