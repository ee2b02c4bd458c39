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

from hw.contract.link_protocol import Command, LinkStatus
from hw.contract.register_map import ERROR_SENTENCES, ErrorCode
from sw.errors import HardwareError
from sw.links.exchange import Exchange, LinkError, Port
from sw.links.found import Found, Identity
from sw.links.frames import Answer, Request
from sw.links.machine import PIECE_BYTES

__all__ = ["BAUDS", "SerialBus", "connect", "find"]

BAUDS = (3_000_000, 1_000_000, 115_200)
"""Bit rates that are tried, in this order."""

USB_CHIPS = {(0x0403, 0x6015): "FT231X (ULX3S)", (0x0403, 0x6010): "FT2232H (ECPIX-5)"}
"""Vendor and product of the serial chips on the boards, for a search."""

PAUSE_S = 0.001
READ_TIMEOUT_S, WRITE_TIMEOUT_S = 0.001, 5.0
"""`pause` is as exact as a read is short."""

_SENTENCES = {
    LinkStatus.BAD_REQUEST: "the board does not know this request: load a bitstream of the same release",
    LinkStatus.REGISTER_ERROR: "the register answered with an error",
    LinkStatus.REGISTER_TIMEOUT: "the registers do not answer: load the bitstream again",
}


def _why(status: int) -> str:
    """A status as a sentence; those of the memory have the numbers of the machine's own error codes."""
    try:
        known = LinkStatus(status)
    except ValueError:
        return f"the board says {status}, which this program does not know"
    return _SENTENCES.get(known) or ERROR_SENTENCES[ErrorCode(status)]


class SerialBus:
    """Registers and memory of the board at a serial port. `exchange` has counters and the board's identity.

    Raises LinkError where the link cannot go on, HardwareError where the board answers with an error, or for memory
    that the board does not have.
    """

    def __init__(self, port: Port, baud: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._port, self._baud, self._clock = port, baud, clock
        self.exchange = Exchange(port, baud, clock)

    base = 0

    @property
    def memory_bytes(self) -> int:
        """What the board says it has."""
        return self.exchange.identity.memory_bytes

    def describe(self) -> str:
        """Port, bit rate and what the board said of itself."""
        said = self.exchange.identity
        return f"{self._port.name} at {self._baud:,} baud, {said.clock_hz / 1e6:g} MHz, {said.memory_bytes:,} bytes"

    def close(self) -> None:
        """Frees the port. May be called again."""
        self._port.close()

    def _run(self, requests: Sequence[Request], anew: bool = False) -> list[Answer]:
        answers = self.exchange.run_anew(requests) if anew else self.exchange.run(requests)
        for request, answer in zip(requests, answers, strict=True):
            if answer.status:
                raise HardwareError(f"{request.command.name} at {request.address:#x} failed: {_why(answer.status)}")
        return answers

    def _parts(self, address: int, size: int, part_bytes: int) -> list[tuple[int, int]]:
        """Address and size of each part of a range."""
        if address < 0 or address + size > self.memory_bytes:
            raise HardwareError(
                f"{size} bytes at {address:#x} lie outside of the board's memory of {self.memory_bytes} bytes: "
                "use a smaller model, context or number of sequences"
            )
        return [(at, min(part_bytes, address + size - at)) for at in range(address, address + size, part_bytes)]

    async def read_registers(self, addresses: Sequence[int]) -> list[int]:
        """One exchange, and more where the line loses something."""
        answers = self._run([Request(Command.READ_REGISTER, address) for address in addresses], anew=True)
        return [int.from_bytes(answer.data, "little") for answer in answers]

    async def write_registers(self, pairs: Sequence[tuple[int, int]]) -> None:
        """One exchange; each request acts once, however often it has to be sent, and after the one before."""
        self._run([Request(Command.WRITE_REGISTER, address, payload=value.to_bytes(4, "little"))
                   for address, value in pairs])

    async def read_memory(self, address: int, size: int) -> NDArray[np.uint8]:
        """At the speed of the line."""
        parts = self._parts(address, size, self.exchange.identity.payload_bytes)
        answers = self._run([Request(Command.READ_MEMORY, at, length) for at, length in parts])
        return np.frombuffer(b"".join(answer.data for answer in answers), dtype=np.uint8).copy()

    async def write_memory(self, address: int, content: bytes) -> None:
        """At the speed of the line; runs of one byte that fill a request cost next to nothing."""
        requests = []
        for at, length in self._parts(address, len(content), self.exchange.identity.payload_bytes):
            part = content[at - address : at - address + length]
            same = part.count(part[0]) == length
            command = Command.FILL_MEMORY if same else Command.WRITE_MEMORY
            requests.append(Request(command, at, length, part[:1] if same else part))
        self._run(requests)

    async def checksums(self, address: int, size: int) -> list[int]:
        """Computed by the board: nothing but requests and results goes over the line."""
        parts = self._parts(address, size, PIECE_BYTES)
        answers = self._run([Request(Command.CHECKSUM, at, length) for at, length in parts])
        return [int.from_bytes(answer.data, "little") for answer in answers]

    async def pause(self, clocks: int) -> None:
        """By the clock of the time-outs. Whatever the line brings meanwhile belongs to nothing any more."""
        end = self._clock() + max(PAUSE_S, clocks / self.exchange.identity.clock_hz)
        while self._clock() < end:
            self.exchange.listen()
            await asyncio.sleep(0)  # an interruption may come in


_REFUSALS = {
    errno.ENOENT: "there is no such device",
    errno.EACCES: "no permission; add your user to the group that owns it (`sudo usermod -aG dialout $USER`) and log "
    "in again",
    errno.EAGAIN: "another program uses it",
    errno.EBUSY: "another program uses it",
    errno.ENOTTY: "it is no serial port",
}


def _refusal(error: Exception) -> str:
    """Why a port does not open. The library's own text names the port and the reason again, once or twice."""
    numbers = (number for one in (error, error.__context__) if one for number in one.args[:1])
    number = next((number for number in numbers if isinstance(number, int)), None)
    return str(error) if number is None else _REFUSALS.get(number) or os.strerror(number)


def _open_port(name: str, baud: int) -> Port:
    """Raises LinkError for a port that is not there, closed to this user, or used by somebody else."""
    from serial import Serial, SerialException

    try:
        port = Serial(name, baud, timeout=READ_TIMEOUT_S, write_timeout=WRITE_TIMEOUT_S, exclusive=True)
    except (SerialException, ValueError) as error:
        raise LinkError(f"cannot open the serial port {name}: {_refusal(error)}") from error
    with suppress(AttributeError, ValueError, OSError):  # else the latency of the chip, for which the window is made
        port.set_low_latency_mode(True)
    return port


def _ports() -> list[str]:
    """Serial ports that may be a board's."""
    from serial.tools.list_ports import comports

    return sorted(port.device for port in comports() if (port.vid, port.pid) in USB_CHIPS)


def connect(
    port: str = "auto", bauds: Sequence[int] = BAUDS, clock: Callable[[], float] = time.monotonic
) -> SerialBus:
    """The board at a port, or at the first port where one answers, at the bit rate at which it answers.

    `clock`: seconds of the board's time, by which every time-out goes.
    Raises LinkError: no port, no board, or a board that speaks another version.
    """
    names = _ports() if port == "auto" else [port]
    if not names:
        chips = ", ".join(USB_CHIPS.values())
        raise LinkError(f"no serial port of a board is there ({chips}): plug the board in, or name the port")
    reasons: dict[tuple[str, str], list[int]] = {}  # the same at several bit rates is told once
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
    """What is at a port."""
    try:
        with closing(connect(port)) as bus:
            said = bus.exchange.identity
            return Found(port, Identity(int(said.build_id), int(said.clock_hz), int(said.memory_bytes)))
    except LinkError as error:
        return Found(port, problem=str(error))


def find() -> list[Found]:
    """Every port that may be a board's, all asked at once: 8 s at most, for the time-outs of all bit rates."""
    names = _ports()
    if not names:
        return []
    with ThreadPoolExecutor(len(names)) as pool:
        return list(pool.map(_ask, names))
