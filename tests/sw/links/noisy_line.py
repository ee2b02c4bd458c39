"""A serial line with a golden board at its end, in time of its own: bytes take as long as at the bit rate, and some are
changed, lost, doubled or made up, as a seed says."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from itertools import takewhile

from sim.golden.serial_link import GoldenBoard

BAUD = 3_000_000
BYTE_S = 10 / BAUD
READ_S = 0.001


class NoisyLine:
    """The port of `SerialBus`; `clock` is its time.

    Attributes:
        board: the board at the other end. `on_byte` is called with the number of each byte that gets to it.
        error_rate: probability that a byte is damaged, each way.
        latency_s: time from the end of a byte until the host can read it.
        muted: nothing gets to the board, or from it. pulled: every access fails. babbles: the board sends noise.
    """

    name = "line"

    def __init__(self, board: GoldenBoard, *, error_rate: float = 0.0, seed: int = 0, latency_s: float = 0.001) -> None:
        self.board, self.error_rate, self.latency_s = board, error_rate, latency_s
        self.on_byte: Callable[[int], None] = lambda number: None
        self.muted = self.pulled = self.babbles = self.closed = False
        self.now = 0.0
        self.bytes_to_board = 0
        self._choice = random.Random(seed)
        self._down: deque[tuple[float, int]] = deque()
        self._up: deque[tuple[float, int]] = deque()
        self._down_free = self._up_free = 0.0

    def clock(self) -> float:
        """Seconds."""
        return self.now

    def _damaged(self, content: bytes) -> bytes:
        choice, found = self._choice, bytearray()
        for byte in content:
            if choice.random() >= self.error_rate:
                found.append(byte)
                continue
            match choice.randrange(4):
                case 0:
                    found.append(byte ^ 1 << choice.randrange(8))
                case 1:
                    found += bytes([byte, byte])
                case 2:
                    found += bytes([choice.randrange(256), byte])
        return bytes(found)

    def _check(self) -> None:
        if self.pulled or self.closed:
            raise OSError("device disconnected")

    def write(self, content: bytes) -> int:
        self._check()
        for byte in self._damaged(content):
            self._down_free = max(self._down_free, self.now) + BYTE_S
            self._down.append((self._down_free, byte))
        return len(content)

    def _answer(self, content: bytes) -> None:
        for byte in self._damaged(content):
            self._up_free = max(self._up_free, self.now) + BYTE_S
            self._up.append((self._up_free + self.latency_s, byte))

    def _step(self, until: float) -> None:
        """To the next byte that arrives at the board, or to a time."""
        if self.babbles and self._up_free < self.now - READ_S / 2:
            self._answer(self._choice.randbytes(100))
        if self._down and self._down[0][0] <= until:
            self.now, byte = self._down.popleft()
            self.bytes_to_board += 1
            self.on_byte(self.bytes_to_board)
            if not self.muted:
                self._answer(self.board.receive(bytes([byte])))
        else:
            self.now = max(self.now, until)

    @property
    def in_waiting(self) -> int:
        self._check()
        return sum(1 for _ in takewhile(lambda arrival: arrival[0] <= self.now, self._up))

    def read(self, size: int = 1) -> bytes:
        end = self.now + READ_S
        while self.now < end and not (self._up and self._up[0][0] <= self.now):
            self._step(min(end, self._up[0][0] if self._up else end))
        found = bytearray()
        for _ in range(min(size, self.in_waiting)):
            found.append(self._up.popleft()[1])
        return bytes(found)

    def close(self) -> None:
        self.closed = True
