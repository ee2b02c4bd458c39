"""Payloads to and from the dot products, which attention and the LM head share: operands, and blocks of beats."""

from __future__ import annotations

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, enum

from hw.contract.config import BLOCK_POSITIONS, AccelConfig, ceil_div
from hw.contract.kv_layout import KvLayout
from hw.contract.machine_float import FLOAT_BITS

__all__ = [
    "ACTIVATION_BITS", "HeadRows", "OPERAND_BITS", "POSITION_BITS", "WEIGHT_BITS", "activation_word", "block_item",
    "key_sum_bits", "query_word", "row_words", "score_sum_bits", "softmax_sets", "value_sum_bits", "weight_word",
]

OPERAND_BITS = 18
"""Signed width of a query code, a softmax weight or an activation of the LM head: one operand of an 18 x 18
multiplier."""

WEIGHT_BITS = OPERAND_BITS - 1
"""Unsigned width of a softmax weight."""

ACTIVATION_BITS = 16
"""Signed width of an activation of the LM head, which is -32767 to 32767."""

POSITION_BITS = (BLOCK_POSITIONS - 1).bit_length()
"""Bits of a position in a block."""


class HeadRows(enum.Enum, shape=2):
    """What the rows of the LM head are. INT8: rows of int8 codes, each for all columns.

    The others belong to a split head, which has one column: the activations of beats with an even number are row 0 of
    the operands, those of the others row 1, and the sum is that of both. DITHER and RESCORED: int8 codes, a beat for
    one of the two rows; RESCORED without scales, and an item is a row on each port. HIGH: codes of four bits, a beat
    for both rows.
    """

    INT8 = 0
    DITHER = 1
    HIGH = 2
    RESCORED = 3


def score_sum_bits(config: AccelConfig) -> int:
    """Signed width of the dot product of a query and a key."""
    return ((2**WEIGHT_BITS - 1) * (2 ** (config.kv_bits - 1) - 1) * config.max_head_dim).bit_length() + 1


def key_sum_bits(config: AccelConfig) -> int:
    """Signed width of the dot product of a query and a key, or of a row of the LM head and its activations."""
    logit = (2 ** (ACTIVATION_BITS - 1) - 1) * 127 * config.max_hidden
    return max(score_sum_bits(config), logit.bit_length() + 1)


def value_sum_bits(config: AccelConfig) -> int:
    """Signed width of the sum of a block's weighted values of one element."""
    return ((2**WEIGHT_BITS - 1) * (2 ** (config.kv_bits - 1) - 1) * BLOCK_POSITIONS).bit_length() + 1


def softmax_sets(config: AccelConfig) -> int:
    """Sets of L query rows; row r is row r mod L of set r // L."""
    return ceil_div(config.query_rows, config.softmax_lanes)


def row_words(config: AccelConfig) -> int:
    """Words of V elements in the longest row, padded to whole port beats."""
    return KvLayout.longest(config).key_beats * config.kv_elements // config.vector


def query_word(config: AccelConfig) -> data.StructLayout:
    """V codes of a query row in order; `index` counts the words of the row from 0, `last` marks the last one. The scale
    is the same in each word of a row."""
    return data.StructLayout({
        "codes": data.ArrayLayout(signed(OPERAND_BITS), config.vector),
        "index": range(row_words(config)),
        "row": range(config.query_rows),
        "bank": unsigned(1),
        "scale_bank": unsigned(2),
        "scale": FLOAT_BITS,
        "last": 1,
    })


def activation_word(config: AccelConfig) -> data.StructLayout:
    """Q activations of the LM head for a row of the dot products; `index` counts the words of the row from 0."""
    return data.StructLayout({
        "index": range(max(2, ceil_div(config.max_hidden, config.quantize_lanes))),
        "row": range(config.query_rows),
        "codes": data.ArrayLayout(signed(ACTIVATION_BITS), config.quantize_lanes),
    })


def block_item(config: AccelConfig) -> data.StructLayout:
    """The keys or the values of one block: `groups` groups of beats come on the stream of beats. `bank` is the lowest
    bit of the number of the block, `operands` the operand bank of the queries (keys only). Rows of the LM head are
    keys."""
    return data.StructLayout({
        "value": 1, "bank": unsigned(1), "operands": unsigned(1), "groups": range(BLOCK_POSITIONS + 1),
    })


def weight_word(config: AccelConfig) -> data.StructLayout:
    """The weights of one position for the L rows of a set."""
    return data.StructLayout({
        "bank": unsigned(1), "position": unsigned(POSITION_BITS), "set": range(softmax_sets(config)),
        "codes": data.ArrayLayout(unsigned(WEIGHT_BITS), config.softmax_lanes),
    })
