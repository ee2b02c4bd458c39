"""The commands of the packet stream (docs/isa.md): opcodes, flags, and the one place where headers are made."""

from __future__ import annotations

from collections.abc import Mapping

from amaranth.hdl import unsigned
from amaranth.lib import data, enum

from hw.contract.crc import header_crc
from hw.contract.record import record_bytes, record_fields

__all__ = ["HEADER", "Flags", "Opcode", "decode_header", "encode_header"]


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


def encode_header(fields: Mapping[str, int]) -> bytes:
    """A header of these fields, the others 0, with its CRC: the one place where headers are made."""
    return record_bytes(HEADER, {**fields, "crc": header_crc(record_bytes(HEADER, {**fields, "crc": 0}))})


def decode_header(content: bytes) -> dict[str, int]:
    """Fields of the header that a content starts with, by name. Its CRC is one of them, and is not checked."""
    return record_fields(HEADER, content)
