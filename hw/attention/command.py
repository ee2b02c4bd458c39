"""The command of attention, the passes into which it is divided, and what is derived from the length of a head."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data
from amaranth.utils import exact_log2

from hw.contract.config import BLOCK_POSITIONS, MAX_KV_HEADS, MAX_SLOTS, AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import kv_shape
from hw.dot.interfaces import row_words

__all__ = ["HEAD_BITS", "SLOT_BITS", "attend_command", "derive_shape", "descriptor", "pass_job", "position_bits"]

SLOT_BITS = (MAX_SLOTS - 1).bit_length()
HEAD_BITS = (MAX_KV_HEADS - 1).bit_length()


def position_bits(config: AccelConfig) -> int:
    """Width of a position."""
    return max(BLOCK_POSITIONS.bit_length(), (config.max_positions - 1).bit_length())


def descriptor(config: AccelConfig) -> data.StructLayout:
    """What a column works on: KV slot and absolute position."""
    return data.StructLayout({"slot": unsigned(SLOT_BITS), "position": range(config.max_positions)})


def attend_command(config: AccelConfig) -> data.StructLayout:
    """ATTEND in units of this machine: words of V, bytes. `*_base` are words of the column."""
    return data.StructLayout({
        "group": range(config.max_group + 1),
        "kv_heads": unsigned(HEAD_BITS + 1),
        "half_words": range(row_words(config) + 1),
        "q_base": unsigned(config.word_bits),
        "k_base": unsigned(config.word_bits),
        "v_base": unsigned(config.word_bits),
        "softmax_scale": unsigned(FLOAT_BITS),
        "head_stride": unsigned(config.address_bits),
        "layer": unsigned(config.address_bits),
    })


def pass_job(config: AccelConfig) -> data.StructLayout:
    """A pass: up to D query rows that share the beats of one KV head of one slot.

    `rows` rows are in use. Row r is at position `position[r]`, and its output goes to `column[r]`, from word `base[r]`
    of the queries on. `top` is the last position of all rows, `first_own` the first position that this command appends
    to the slot. `number` are the lowest two bits of the number of the pass. `last` marks the last pass of the command.
    """
    rows, position = config.query_rows, unsigned(position_bits(config))
    return data.StructLayout({
        "slot": unsigned(SLOT_BITS), "head": unsigned(HEAD_BITS), "number": unsigned(2), "last": 1,
        "rows": range(rows + 1), "top": position, "first_own": position,
        "position": data.ArrayLayout(position, rows),
        "column": data.ArrayLayout(unsigned(config.column_bits), rows),
        "base": data.ArrayLayout(unsigned(config.word_bits), rows),
    })


def derive_shape(m: Module, config: AccelConfig, half_words: Signal) -> tuple[Signal, Signal]:
    """The `kv_shape` of heads of 2 * `half_words` words, and the words of a padded row, four clocks late."""
    shape, padded = Signal(kv_shape(config)), Signal(range(row_words(config) + 1))
    elements = half_words << exact_log2(2 * config.vector)
    beat = exact_log2(config.kv_elements)
    groups = exact_log2(BLOCK_POSITIONS // (config.ports * config.kv_pairs))
    m.d.sync += [
        shape.key_beats.eq((elements + config.kv_elements - 1) >> beat),
        shape.key_group_beats.eq((shape.key_beats << exact_log2(config.kv_pairs)) + 1),
        shape.keys_beats.eq(shape.key_group_beats << groups),
        shape.value_group_beats.eq(elements >> exact_log2(config.ports)),
        shape.values_beats.eq(shape.value_group_beats << exact_log2(BLOCK_POSITIONS // config.kv_elements)),
        shape.block_beats.eq(shape.keys_beats + shape.values_beats),
        padded.eq(shape.key_beats << exact_log2(config.kv_elements // config.vector)),
    ]
    return shape, padded
