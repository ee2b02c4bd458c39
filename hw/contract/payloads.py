"""Payloads that cross a boundary inside the machine, once each: streams between units, and requests to the memory."""

from __future__ import annotations

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from hw.contract.config import AccelConfig
from hw.contract.kv_layout import KvLayout
from hw.contract.machine_float import FLOAT_BITS

__all__ = [
    "BATCH_ENTRY", "Trit", "acc_word", "beat", "column_values", "entry_words", "gather_request", "kv_codes", "kv_shape",
    "quantize_values", "stream_beat", "vector_word", "write_beat", "write_request",
]

BATCH_ENTRY = data.StructLayout({
    "token": unsigned(32),     # to be fed next
    "position": unsigned(32),  # where
    "slot": unsigned(32),      # KV slot of the sequence
    "scale": unsigned(32),     # of its logits in the sum of its shortlist, as in LOGIT_SCALE; otherwise unused
})
"""A sequence of a batch as it lies in the prompt area, 16 bytes little endian (docs/registers.md, BATCH)."""


def entry_words(config: AccelConfig) -> int:
    """Words of a BATCH_ENTRY that a machine reads, the first ones."""
    return 4 if config.shortlist else 3


Trit = data.StructLayout({"nonzero": unsigned(1), "negate": unsigned(1)})
"""A ternary weight inside the array; `negate` means nothing where it is zero."""


def beat(config: AccelConfig) -> data.ArrayLayout:
    """One beat of a memory port as bytes."""
    return data.ArrayLayout(unsigned(8), config.beat_bytes)


def stream_beat(config: AccelConfig) -> data.ArrayLayout:
    """One beat of the packet stream as bytes: those of port 0, of port 1, and so on."""
    return data.ArrayLayout(unsigned(8), config.stream_bytes)


def column_values(config: AccelConfig) -> data.ArrayLayout:
    """V machine floats."""
    return data.ArrayLayout(unsigned(FLOAT_BITS), config.vector)


def quantize_values(config: AccelConfig) -> data.ArrayLayout:
    """Q machine floats, those that are quantised in a clock: a word of V or two of them."""
    return data.ArrayLayout(unsigned(FLOAT_BITS), config.quantize_lanes)


def vector_word(config: AccelConfig) -> data.StructLayout:
    """V elements on their way into the scratchpad: column, word index inside the column (element index // V), values.

    `index` is the word index of the element inside its own vector (starts at 0), `base` words are added by the writer.
    """
    return data.StructLayout({
        "column": unsigned(config.column_bits),
        "index": unsigned(config.word_bits),
        "values": column_values(config),
    })


def acc_word(config: AccelConfig) -> data.StructLayout:
    """V exact sums of the array on their way to rescale; `index` counts words of V output rows from 0."""
    return data.StructLayout({
        "column": unsigned(config.column_bits),
        "index": unsigned(config.word_bits),
        "sums": data.ArrayLayout(signed(config.accumulator_bits), config.vector),
    })


def gather_request(config: AccelConfig) -> data.StructLayout:
    """A random read: byte address (multiple of the beat) and number of beats, 1 to 65535."""
    return data.StructLayout({"address": unsigned(config.address_bits), "beats": unsigned(16)})


def write_request(config: AccelConfig) -> data.StructLayout:
    """A write: byte address (multiple of the beat) and 1 to 1024 beats, which follow on the data stream."""
    return data.StructLayout({"address": unsigned(config.address_bits), "beats": unsigned(11)})


def write_beat(config: AccelConfig) -> data.StructLayout:
    """One beat to write with byte strobes."""
    return data.StructLayout({"data": beat(config), "strobe": unsigned(config.beat_bytes)})


def kv_codes(config: AccelConfig) -> data.StructLayout:
    """V codes of a row and the row's scale, the same in each of its words; `last` marks the last word."""
    return data.StructLayout({
        "codes": data.ArrayLayout(signed(config.kv_bits), config.vector),
        "scale": FLOAT_BITS,
        "last": 1,
    })


def kv_shape(config: AccelConfig) -> data.StructLayout:
    """The numbers of `KvLayout` for the head_dim of the command, in beats of a port; steady during a command."""
    longest = KvLayout.longest(config)
    sizes = {name: getattr(longest, name) for name in (
        "key_beats", "key_group_beats", "keys_beats", "value_group_beats", "values_beats")}
    return data.StructLayout({
        **{name: range(size + 1) for name, size in sizes.items()},
        "block_beats": range(longest.keys_beats + longest.values_beats + 1),
    })
