"""A board on a serial port: `sw.registers.Bus` by the requests of docs/link-protocol.md."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import numpy as np
from numpy.typing import NDArray

from hw.contract.register_map import ERROR_SENTENCES, ErrorCode
from hw.contract.serial_link_protocol import Command, LinkStatus
from sw.errors import HardwareError
from sw.links.exchange import Exchange, LinkError, Port
from sw.links.found import Found, Identity
from sw.links.frames import Answer, FrameRequest
from sw.links.machine import PIECE_BYTES

__all__ = ["BAUDS", "SerialBus", "connect", "find"]

BAUDS = (3_000_000, 1_000_000, 115_200)
"""Bit rates to try, in this order."""

USB_CHIPS = {(0x0403, 0x6015): "FT231X (ULX3S)", (0x0403, 0x6010): "FT2232H (ECPIX-5)"}
"""USB vendor and product IDs of the boards' serial chips, used to search for boards."""

PAUSE_S = 0.001
READ_TIMEOUT_S, WRITE_TIMEOUT_S = 0.001, 5.0
"""Time-out of a read in seconds, which is also the resolution of `pause`."""

_SENTENCES = {
    LinkStatus.BAD_REQUEST: "the board does not support this request: load a bitstream of the same release",
    LinkStatus.REGISTER_ERROR: "the register returned an error: load a bitstream of the same release",
    LinkStatus.REGISTER_TIMEOUT: "the registers do not answer: load the bitstream again",
}


def _why(status: int) -> str:
    """Sentence for a status. Statuses of the memory have the same numbers as the accelerator's error codes."""
    try:
        known = LinkStatus(status)
    except ValueError:
        return f"the board returned the unknown status {status}: load a bitstream of the same release"
    return _SENTENCES.get(known) or ERROR_SENTENCES[ErrorCode(status)]


class SerialBus:
    """Registers and memory of the board at a serial port. `exchange` has counters and the board's identity.

    Raises LinkError if the serial link fails, HardwareError if the board returns an error or an address is beyond its
    memory.
    """

    def __init__(self, port: Port, baud: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._port, self._baud, self._clock = port, baud, clock
        self.exchange = Exchange(port, baud, clock)

    base = 0

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory that the board reports."""
        return self.exchange.identity.memory_bytes

    def describe(self) -> str:
        """Text with port, bit rate, clock and memory of the board."""
        said = self.exchange.identity
        return f"{self._port.name} at {self._baud:,} baud, {said.clock_hz / 1e6:g} MHz, {said.memory_bytes:,} bytes"

    def close(self) -> None:
        """Close the port. May be called again."""
        self._port.close()

    def _run(self, requests: Sequence[FrameRequest], anew: bool = False) -> list[Answer]:
        answers = self.exchange.run_anew(requests) if anew else self.exchange.run(requests)
        for request, answer in zip(requests, answers, strict=True):
            if answer.status:
                raise HardwareError(f"{request.command.name} at {request.address:#x} failed: {_why(answer.status)}")
        return answers

    def _parts(self, address: int, size: int, part_bytes: int) -> list[tuple[int, int]]:
        """Address and size of each part of a range."""
        if address < 0 or address + size > self.memory_bytes:
            raise HardwareError(
                f"{size} bytes at {address:#x} are outside of the board's memory of {self.memory_bytes} bytes: "
                "use a smaller model, context or number of sequences"
            )
        return [(at, min(part_bytes, address + size - at)) for at in range(address, address + size, part_bytes)]

    async def read_registers(self, addresses: Sequence[int]) -> list[int]:
        """Read registers in order, in one exchange, or more if answers are lost."""
        answers = self._run([FrameRequest(Command.READ_REGISTER, address) for address in addresses], anew=True)
        return [int.from_bytes(answer.data, "little") for answer in answers]

    async def write_registers(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Write registers in order, in one exchange. Each write is executed once, even if it has to be sent again."""
        self._run([FrameRequest(Command.WRITE_REGISTER, address, payload=value.to_bytes(4, "little"))
                   for address, value in pairs])

    async def read_memory(self, address: int, size: int) -> NDArray[np.uint8]:
        """Read memory, at the speed of the serial link."""
        parts = self._parts(address, size, self.exchange.identity.payload_bytes)
        answers = self._run([FrameRequest(Command.READ_MEMORY, at, length) for at, length in parts])
        return np.frombuffer(b"".join(answer.data for answer in answers), dtype=np.uint8).copy()

    async def write_memory(self, address: int, content: bytes) -> None:
        """Write memory, at the speed of the serial link. A request of equal bytes is sent as a short fill request."""
        requests = []
        for at, length in self._parts(address, len(content), self.exchange.identity.payload_bytes):
            part = content[at - address : at - address + length]
            same = part.count(part[0]) == length
            command = Command.FILL_MEMORY if same else Command.WRITE_MEMORY
            requests.append(FrameRequest(command, at, length, part[:1] if same else part))
        self._run(requests)

    async def checksums(self, address: int, size: int) -> list[int]:
        """Checksums, computed by the board: only requests and results are transferred."""
        parts = self._parts(address, size, PIECE_BYTES)
        answers = self._run([FrameRequest(Command.CHECKSUM, at, length) for at, length in parts])
        return [int.from_bytes(answer.data, "little") for answer in answers]

    async def pause(self, clocks: int) -> None:
        """Wait by the clock that also controls time-outs. Answers that arrive meanwhile are discarded."""
        end = self._clock() + max(PAUSE_S, clocks / self.exchange.identity.clock_hz)
        while self._clock() < end:
            self.exchange.listen()
            await asyncio.sleep(0)  # an interruption may come in


_REFUSALS = {
    errno.ENOENT: "the device does not exist; check its name, and that the board is plugged in",
    errno.EACCES: "no permission; add your user to the group that owns it (`sudo usermod -aG dialout $USER`) and log "
    "in again",
    errno.EAGAIN: "another program uses it; close that program",
    errno.EBUSY: "another program uses it; close that program",
    errno.ENOTTY: "it is not a serial port; name the board's serial port",
}


def _refusal(error: Exception) -> str:
    """Why a port cannot be opened. The library's own message repeats the port and the reason."""
    numbers = (number for one in (error, error.__context__) if one for number in one.args[:1])
    number = next((number for number in numbers if isinstance(number, int)), None)
    return str(error) if number is None else _REFUSALS.get(number) or os.strerror(number)


def _open_port(name: str, baud: int) -> Port:
    """Open a port. Raises LinkError if it does not exist, is in use, or this user may not open it."""
    from serial import Serial, SerialException

    try:
        port = Serial(name, baud, timeout=READ_TIMEOUT_S, write_timeout=WRITE_TIMEOUT_S, exclusive=True)
    except (SerialException, ValueError) as error:
        raise LinkError(f"cannot open the serial port {name}: {_refusal(error)}") from error
    with suppress(AttributeError, ValueError, OSError):  # else the latency of the chip, for which the window is made
        port.set_low_latency_mode(True)
    return port


def _ports() -> list[str]:
    """Serial ports with a USB chip that the boards use."""
    from serial.tools.list_ports import comports

    return sorted(port.device for port in comports() if (port.vid, port.pid) in USB_CHIPS)


def connect(
    port: str = "auto", bauds: Sequence[int] = BAUDS, clock: Callable[[], float] = time.monotonic
) -> SerialBus:
    """Connect to the board at a port, or at the first port where one answers. All bit rates are tried.

    `clock` returns the time in seconds for all time-outs; a simulated board has its own.

    Raises LinkError: no port or board was found, or the board uses another version of the protocol.
    """
    names = _ports() if port == "auto" else [port]
    if not names:
        chips = ", ".join(USB_CHIPS.values())
        raise LinkError(f"found no serial port of a board ({chips}): plug in the board, or name the port with --port")
    reasons: dict[tuple[str, str], list[int]] = {}  # equal reasons at several bit rates are reported once
    for name in names:
        for baud in bauds:
            opened = _open_port(name, baud)
            try:
                return SerialBus(opened, baud, clock)
            except LinkError as error:
                opened.close()
                reasons.setdefault((name, str(error)), []).append(baud)
    raise LinkError("no board was found. " + " ".join(
        f"{name} at {', '.join(map(str, rates))} baud: {reason}" for (name, reason), rates in reasons.items()))


def _ask(port: str) -> Found:
    """Search result for one port."""
    try:
        with closing(connect(port)) as bus:
            said = bus.exchange.identity
            return Found(port, Identity(int(said.build_id), int(said.clock_hz), int(said.memory_bytes)))
    except LinkError as error:
        return Found(port, problem=str(error))


def find() -> list[Found]:
    """Search results for every candidate port, probed in parallel. Takes up to 8 s, the time-outs of all bit rates."""
    names = _ports()
    if not names:
        return []
    with ThreadPoolExecutor(len(names)) as pool:
        return list(pool.map(_ask, names))
