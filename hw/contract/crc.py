"""The CRC-16 of command headers (docs/isa.md), bit by bit: for packer and golden model, and what hardware unrolls."""

from __future__ import annotations

from hw.contract.config import HEADER_BYTES

__all__ = ["CRC_BITS", "CRC_RESIDUE", "CRC_START", "advance_crc", "header_crc"]

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
