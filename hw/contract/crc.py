"""The CRC-16 of command headers (docs/isa.md), for the packer, the golden model and the hardware."""

from __future__ import annotations

from amaranth.lib.crc import catalog

from hw.contract.config import HEADER_BYTES

__all__ = ["HEADER_CRC", "header_crc"]

HEADER_CRC = catalog.CRC16_IBM_SDLC
"""The CRC-16 of X.25. It finds every error of up to three bits of a header, and every burst of 16."""


def header_crc(content: bytes) -> int:
    """Field `crc` of a header that begins with these bytes; 30 of them count."""
    return HEADER_CRC().compute(content[: HEADER_BYTES - HEADER_CRC.crc_width // 8])
