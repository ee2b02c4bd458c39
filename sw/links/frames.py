"""Encoder and decoder of the host for the frames of the serial link (docs/link-protocol.md)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from hw.contract.record import record_bytes
from hw.contract.serial_link_protocol import CRC_BYTES, FRAME_EXTRA, LONGEST_BLOCK, REQUEST, Command

__all__ = ["Answer", "FrameRequest", "decode", "encode"]


def encode(content: bytes) -> bytes:
    """The frame of a content: CRC-32 appended, byte stuffing, then a zero byte as the end."""
    content += zlib.crc32(content).to_bytes(CRC_BYTES, "little")
    frame = bytearray()
    for part in content.split(b"\0"):
        for start in range(0, len(part), LONGEST_BLOCK):
            block = part[start : start + LONGEST_BLOCK]
            frame.append(len(block) + 1)
            frame += block
        if len(part) % LONGEST_BLOCK == 0:  # an empty block, for the zero that a block of 254 does not stand for
            frame.append(1)
    return bytes(frame) + b"\0"


def decode(frame: bytes) -> bytes | None:
    """The content of a frame, which is given without its final zero byte; None if the frame is damaged."""
    content = bytearray()
    at = 0
    while at < len(frame):
        code = frame[at]
        block = frame[at + 1 : at + code]
        if not code or len(block) != code - 1:
            return None
        content += block
        at += code
        if code <= LONGEST_BLOCK and at < len(frame):
            content.append(0)
    body, crc = content[:-CRC_BYTES], content[-CRC_BYTES:]
    if len(crc) != CRC_BYTES or zlib.crc32(body) != int.from_bytes(crc, "little"):
        return None
    return bytes(body)


@dataclass(frozen=True)
class FrameRequest:
    """A request of the host; `length` is in bytes of memory."""

    command: Command
    address: int = 0
    length: int = 0
    payload: bytes = b""

    @property
    def buffer_bytes(self) -> int:
        """Bytes that the request takes in the board's buffer."""
        return REQUEST.size // 8 + len(self.payload) + FRAME_EXTRA

    def frame(self, sequence: int) -> bytes:
        """The frame of the request, with its sequence number."""
        header = record_bytes(REQUEST, {
            "command": self.command.value, "sequence": sequence, "length": self.length, "address": self.address,
        })
        return encode(header + self.payload)


@dataclass(frozen=True)
class Answer:
    """An answer of the board. `status` is a value of `LinkStatus`, or an unknown one of another release."""

    command: int
    sequence: int
    data: bytes
    status: int

    @classmethod
    def of(cls, frame: bytes) -> Answer | None:
        """The answer in a frame; None if the frame is damaged or too short for an answer."""
        content = decode(frame)
        if content is None or len(content) < 3:
            return None
        return cls(content[0], content[1], content[2:-1], content[-1])
