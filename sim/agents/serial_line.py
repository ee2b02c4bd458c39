"""Simulated serial line, bit by bit, and a serial port for the host at its end.

`SerialLine` runs inside cocotb. `SimulatedPort` replaces the serial port of `sw.links.serial.SerialBus`: the host runs
in its own thread (`cocotb.task.bridge`) while simulated time is stopped; time advances only while the host waits. So
measured times are those of the protocol, not of the simulating computer.
"""

from __future__ import annotations

from collections import deque
from itertools import takewhile
from typing import Any

import cocotb
from cocotb.task import resume
from cocotb.triggers import Event, FallingEdge, First, Timer
from cocotb.utils import get_sim_time

__all__ = ["SerialLine", "SimulatedPort"]


class SerialLine:
    """Drives `rx` and listens at `tx` of a board at so many bits per second.

    `received` are bytes with the time in ns at which their stop bit came; `arrived` is set with each of them.
    """

    def __init__(self, rx: Any, tx: Any, baud: int) -> None:
        self._rx, self._tx = rx, tx
        self._bit_ps = round(1e12 / baud)
        self.to_board: deque[int] = deque()
        self.received: deque[tuple[float, int]] = deque()
        self.sent_bytes = self.received_bytes = 0
        self.arrived, self._more = Event(), Event()
        rx.value = 1
        cocotb.start_soon(self._drive())
        cocotb.start_soon(self._listen())

    def send(self, content: bytes) -> None:
        """Append bytes to the transmit queue."""
        self.to_board.extend(content)
        self._more.set()

    async def _drive(self) -> None:
        while True:
            while not self.to_board:
                self._more.clear()
                await self._more.wait()
            byte = self.to_board.popleft()
            for level in (0, *(byte >> n & 1 for n in range(8)), 1):
                self._rx.value = level
                await Timer(self._bit_ps, "ps")
            self.sent_bytes += 1

    async def _listen(self) -> None:
        while True:
            await FallingEdge(self._tx)
            await Timer(self._bit_ps * 3 // 2, "ps")
            byte = 0
            for n in range(8):
                byte |= int(self._tx.value) << n
                await Timer(self._bit_ps, "ps")
            assert int(self._tx.value), "a byte of the board has no stop bit"
            self.received_bytes += 1
            self.received.append((get_sim_time("ns"), byte))
            self.arrived.set()


class SimulatedPort:
    """A serial port for the host. What the board sends can be read `latency_s` later, as through a USB chip."""

    def __init__(self, line: SerialLine, latency_s: float = 0.0, timeout_s: float = 0.0002) -> None:
        self._line, self._latency_ns, self._timeout_ns = line, latency_s * 1e9, timeout_s * 1e9

    @staticmethod
    def clock() -> float:
        """Simulated seconds."""
        return get_sim_time("ns") * 1e-9

    @property
    def in_waiting(self) -> int:
        """Bytes that can be read at once."""
        latest = get_sim_time("ns") - self._latency_ns
        return sum(1 for _ in takewhile(lambda arrival: arrival[0] <= latest, self._line.received))

    def read(self, size: int = 1) -> bytes:
        """Read up to `size` bytes; waits for the first one until the time-out."""
        if not self.in_waiting:
            self._wait()
        return bytes(self._line.received.popleft()[1] for _ in range(min(size, self.in_waiting)))

    def write(self, content: bytes) -> int:
        """Write all bytes."""
        self._line.send(content)
        return len(content)

    def close(self) -> None:
        """Do nothing; the line stays open."""

    @resume
    async def _wait(self) -> None:
        end = get_sim_time("ns") + self._timeout_ns
        while not self.in_waiting:
            now = get_sim_time("ns")
            if now >= end:
                return
            if self._line.received:
                due = min(end, self._line.received[0][0] + self._latency_ns)
                await Timer(max(1, round(due - now)), "ns")
            else:
                self._line.arrived.clear()
                await First(Timer(max(1, round(end - now)), "ns"), self._line.arrived.wait())
