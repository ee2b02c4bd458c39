"""Every payload that crosses a boundary, once. This file is shared by hardware, golden model, packer and driver."""

from __future__ import annotations

from collections.abc import Mapping

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, enum

from hw.config import HEADER_BYTES, AccelConfig

__all__ = [
    "BATCH_ENTRY", "CRC_BITS", "CRC_RESIDUE", "CRC_START", "FLOAT_BITS", "FRACTION_BITS", "HEADER", "Flags", "Opcode",
    "Trit", "acc_word", "advance_crc", "beat", "column_values", "gather_request", "encode_header", "header_crc",
    "vector_word", "write_beat", "write_request",
]

FRACTION_BITS = 16
"""Fraction bits of the machine's float; the significand has one more."""

FLOAT_BITS = 1 + 8 + FRACTION_BITS
"""Sign, 8-bit exponent (bias 127), fraction: the upper 25 bits of a float32 word. Zero is all zeros; no inf, no NaN."""


class Opcode(enum.Enum, shape=8):
    """Commands of the packet stream (`docs/isa.md`). 0 is invalid on purpose: blank memory is not a program."""

    END = 1
    LOAD_NORM = 2
    EMBED = 3
    QUANTIZE = 4
    MATMUL = 5
    ATTEND = 6
    HEAD = 7


class Flags(enum.Flag, shape=8):
    """Modifiers of a command.

    RESIDUAL: MATMUL adds to the residual stream instead of storing.
    GATED: MATMUL multiplies by relu(stored gate)^2.
    STATISTICS: the written vector is the input of the norm that was loaded last; gather its statistics.
    WORK: QUANTIZE reads the work area, not the residual stream.
    HEAD16: QUANTIZE emits 16-bit activations for the LM head.
    """

    RESIDUAL = 1
    GATED = 2
    STATISTICS = 4
    WORK = 8
    HEAD16 = 16


HEADER = data.StructLayout({
    "opcode": unsigned(8),
    "flags": unsigned(8),
    "k": unsigned(16),        # vector length / inputs of a matmul / head_dim of ATTEND
    "m": unsigned(32),        # rows of MATMUL and HEAD; EMBED: head_dim; ATTEND: KV heads in 31:16, heads per KV head
    "payload_beats": unsigned(32),
    "scale": unsigned(32),    # float32: weight scale / 1 over k for QUANTIZE / head_dim^-0.5 * log2(e) for ATTEND
    "eps": unsigned(32),      # float32 eps of QUANTIZE; ATTEND: bytes from one KV head to the next
    "offset": unsigned(16),   # element offset in the work area: MATMUL destination; ATTEND: k
    "offset2": unsigned(16),  # ATTEND: element offset of v in the work area; MATMUL: beats of a row block, ceil(k/Kc)
    "address": unsigned(48),  # ATTEND: byte offset of the layer inside a KV slot; MATMUL: row blocks, ceil(m/R)
    "crc": unsigned(16),      # `header_crc` of the 30 bytes before
})
"""A command header, 32 bytes little endian; `encode_header` makes one."""

CRC_BITS, CRC_START, CRC_RESIDUE = 16, 0xFFFF, 0xF0B8
"""The CRC-16 of X.25: start, and what the state is behind a header and its CRC. It finds every error of up to three
bits or of one burst of 16."""


def advance_crc(state: int, data: int, bits: int) -> int:
    """The state of the CRC behind some more bits, lowest first."""
    for n in range(bits):
        state = state >> 1 ^ (0x8408 if (state ^ data >> n) & 1 else 0)
    return state


def header_crc(content: bytes) -> int:
    """Field `crc` of a header that begins with these bytes; 30 of them count."""
    covered = content[: HEADER_BYTES - CRC_BITS // 8]
    return advance_crc(CRC_START, int.from_bytes(covered, "little"), 8 * len(covered)) ^ CRC_START


def encode_header(fields: Mapping[str, int]) -> bytes:
    """A header of these fields, the others 0, with its CRC: the one place where headers are made."""
    content = HEADER.const({**fields, "crc": 0}).as_bits().to_bytes(HEADER_BYTES, "little")
    return HEADER.const({**fields, "crc": header_crc(content)}).as_bits().to_bytes(HEADER_BYTES, "little")


BATCH_ENTRY = data.StructLayout({
    "token": unsigned(32),     # to be fed next
    "position": unsigned(32),  # where
    "slot": unsigned(32),      # KV slot of the sequence
    "reserved": unsigned(32),  # 0
})
"""A sequence of a batch as it lies in the prompt area, 16 bytes little endian (docs/registers.md, BATCH)."""


class Trit(enum.Enum, shape=2):
    """A ternary weight inside the array: bit 0 non-zero, bit 1 negate."""

    ZERO = 0b00
    PLUS = 0b01
    MINUS = 0b11


def beat(config: AccelConfig) -> data.ArrayLayout:
    """One beat of a memory port as bytes."""
    return data.ArrayLayout(unsigned(8), config.beat_bytes)


def stream_beat(config: AccelConfig) -> data.ArrayLayout:
    """One beat of the packet stream as bytes: those of port 0, of port 1, and so on."""
    return data.ArrayLayout(unsigned(8), config.stream_bytes)


def column_values(config: AccelConfig) -> data.ArrayLayout:
    """V machine floats."""
    return data.ArrayLayout(unsigned(FLOAT_BITS), config.vector)


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
    """A write: byte address (multiple of the beat) and 1 to 256 beats, which follow on the data stream."""
    return data.StructLayout({"address": unsigned(config.address_bits), "beats": unsigned(9)})


def write_beat(config: AccelConfig) -> data.StructLayout:
    """One beat to write with byte strobes."""
    return data.StructLayout({"data": beat(config), "strobe": unsigned(config.beat_bytes)})
