"""Golden model of the board's end of the serial link (hw/serial_link). Tests of the host use it as the board."""

from __future__ import annotations

import zlib
from typing import Protocol

import numpy as np

from hw.contract.config import AccelConfig
from hw.contract.record import record_bytes, record_fields
from hw.contract.serial_link_protocol import (
    BUFFER_BYTES,
    IDENTITY,
    PAYLOAD_BYTES,
    PROTOCOL_VERSION,
    REQUEST,
    WRITES,
    Command,
    LinkStatus,
)
from sw.links.frames import decode, encode

__all__ = ["GoldenBoard", "Registers"]

OLDEST = 128
"""Sequence numbers before the expected one that count as executed."""


class Registers(Protocol):
    """Registers that the board gives access to."""

    def read(self, address: int) -> int | LinkStatus:
        """The value, or the status of a failed access."""
        ...

    def write(self, address: int, value: int) -> LinkStatus:
        """The status of the access."""
        ...


class GoldenBoard:
    """Takes bytes of the line and gives bytes of the line; `memory` is the board's memory.

    What lies outside of the memory is answered with DECERR. The buffer has no bound: all requests are executed at once.
    """

    def __init__(
        self, config: AccelConfig, registers: Registers, *, memory_bytes: int, clock_hz: int,
        version: int = PROTOCOL_VERSION,
    ) -> None:
        self.registers = registers
        self.memory = np.zeros(memory_bytes, dtype=np.uint8)
        self.identity = {
            "version": version, "payload_bytes": PAYLOAD_BYTES, "buffer_bytes": BUFFER_BYTES, "clock_hz": clock_hz,
            "build_id": config.build_id, "memory_bytes": memory_bytes,
        }
        self._frame = bytearray()
        self.reset()

    def reset(self) -> None:
        """As after power-up; the memory keeps what is in it."""
        self._frame.clear()
        self._session = self._asked = False
        self._expected = 0
        self._statuses = [LinkStatus.OK] * 256

    def receive(self, line: bytes) -> bytes:
        """Process received bytes and return the bytes of the answers."""
        answers = bytearray()
        for byte in line:
            if byte:
                self._frame.append(byte)
            elif self._frame:
                answers += self._take(bytes(self._frame))
                self._frame.clear()
        return bytes(answers)

    def _take(self, frame: bytes) -> bytes:
        content = decode(frame)
        if content is None or len(content) < REQUEST.size // 8:
            return self._lost()
        header, payload = record_fields(REQUEST, content), content[REQUEST.size // 8 :]
        command, sequence = header["command"], header["sequence"]
        age = (self._expected - sequence) % 256
        if command == Command.HELLO.value:
            self._session, self._expected, self._asked = True, 0, False
            nonce = header["address"] & 0xFFFFFFFF
            data, status = record_bytes(IDENTITY, {**self.identity, "nonce": nonce}), LinkStatus.OK
        elif not self._session:
            data, status = b"", LinkStatus.NO_SESSION
        elif age > OLDEST:
            return self._lost()
        elif age and command in [one.value for one in WRITES]:
            data, status = b"", self._statuses[sequence]
        else:
            if not age:
                self._expected, self._asked = (self._expected + 1) % 256, False
            data, status = self._execute(command, header["address"], header["length"], payload)
        self._statuses[sequence] = status
        return encode(bytes([command, sequence]) + data + bytes([status.value]))

    def _lost(self) -> bytes:
        """REPEAT, once per loss."""
        if self._asked or not self._session:
            return b""
        self._asked = True
        return encode(bytes([Command.REPEAT.value, self._expected, LinkStatus.OK.value]))

    def _execute(self, command: int, address: int, length: int, payload: bytes) -> tuple[bytes, LinkStatus]:
        inside, short = address + length <= len(self.memory), 1 <= length <= PAYLOAD_BYTES
        data, status = b"", LinkStatus.BAD_REQUEST
        match command:
            case Command.READ_REGISTER.value:
                value = self.registers.read(address)
                status = value if isinstance(value, LinkStatus) else LinkStatus.OK
                data = b"" if isinstance(value, LinkStatus) else value.to_bytes(4, "little")
            case Command.WRITE_REGISTER.value if len(payload) >= 4:
                status = self.registers.write(address, int.from_bytes(payload[:4], "little"))
            case Command.READ_MEMORY.value if short:
                status = LinkStatus.OK if inside else LinkStatus.READ_DECERR
                data = self.memory[address : address + length].tobytes() if inside else b""
            case Command.CHECKSUM.value if length:
                status = LinkStatus.OK if inside else LinkStatus.READ_DECERR
                data = zlib.crc32(self.memory[address : address + length].data).to_bytes(4, "little") if inside else b""
            case Command.WRITE_MEMORY.value | Command.FILL_MEMORY.value if short:
                content = (payload[:1] * length if command == Command.FILL_MEMORY.value else payload)[:length]
                status = LinkStatus.OK if len(content) == length else LinkStatus.BAD_REQUEST
                if inside:
                    self.memory[address : address + len(content)] = np.frombuffer(content, dtype=np.uint8)
                else:
                    status = LinkStatus.WRITE_DECERR
        return data, status
