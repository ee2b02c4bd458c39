"""Numbers and layouts of the link between host and board (docs/link-protocol.md), for hardware, model and host."""

from __future__ import annotations

from amaranth.hdl import unsigned
from amaranth.lib import data, enum

__all__ = [
    "BUFFER_BYTES", "CRC_BYTES", "ENTRY", "FRAME_EXTRA", "IDENTITY", "LONGEST_BLOCK", "PAYLOAD_BYTES",
    "PROTOCOL_VERSION", "REQUEST", "WRITES", "Command", "LinkStatus",
]

PROTOCOL_VERSION = 1

PAYLOAD_BYTES = 1024
"""Most bytes of memory that one request reads, writes or fills."""

BUFFER_BYTES = 8192
"""Bytes of requests that a board keeps; the host has no more than these unanswered."""

CRC_BYTES = 4
"""The CRC-32 at the end of a frame."""

LONGEST_BLOCK = 254
"""Bytes of the longest block of COBS, the byte stuffing of frames."""

FRAME_EXTRA = CRC_BYTES + 1
"""Bytes that a frame takes of the buffer, besides header and payload: its CRC, and the mark of its end."""


class Command(enum.Enum, shape=8):
    """What a request asks for; an answer repeats it. REPEAT is an answer only: a request was lost, send it again."""

    REPEAT = 0
    HELLO = 1
    READ_REGISTER = 2
    WRITE_REGISTER = 3
    READ_MEMORY = 4
    WRITE_MEMORY = 5
    FILL_MEMORY = 6
    CHECKSUM = 7


WRITES = (Command.WRITE_REGISTER, Command.WRITE_MEMORY, Command.FILL_MEMORY)
"""Commands that act once, however often they are sent."""


class LinkStatus(enum.Enum, shape=5):
    """How a request ended. Errors of the memory are those of `AxiError`: reads as they are, writes with bit 3 set."""

    OK = 0
    READ_SLVERR = 1
    READ_DECERR = 2
    READ_LAST = 3
    READ_UNEXPECTED = 4
    READ_TIMEOUT = 5
    WRITE_SLVERR = 9
    WRITE_DECERR = 10
    WRITE_UNEXPECTED = 12
    WRITE_TIMEOUT = 13
    NO_SESSION = 16
    BAD_REQUEST = 17
    REGISTER_ERROR = 18
    REGISTER_TIMEOUT = 19


REQUEST = data.StructLayout({
    "command": unsigned(8),
    "sequence": unsigned(8),
    "length": unsigned(16),   # bytes of memory
    "address": unsigned(64),  # of memory or of a register; HELLO: a number that the answer repeats
})
"""Header of a request, 12 bytes little endian; payload and CRC-32 follow."""

IDENTITY = data.StructLayout({
    "nonce": unsigned(32),         # of the HELLO
    "version": unsigned(16),       # PROTOCOL_VERSION
    "payload_bytes": unsigned(16),
    "buffer_bytes": unsigned(32),
    "clock_hz": unsigned(32),
    "build_id": unsigned(64),      # AccelConfig.build_id
    "memory_bytes": unsigned(64),  # the memory starts at address 0
})
"""Data of the answer to HELLO, 32 bytes little endian. The first two fields are the same in all versions."""

ENTRY = data.StructLayout({"byte": unsigned(8), "end": unsigned(1)})
"""A byte of a frame or, with `end`, the end of the frame, which carries no byte."""
