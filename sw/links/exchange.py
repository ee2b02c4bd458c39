"""Reliable requests over a serial link that may lose or corrupt bytes: the host's side of docs/link-protocol.md."""

from __future__ import annotations

import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from hw.contract.serial_link_protocol import BUFFER_BYTES, IDENTITY, PROTOCOL_VERSION, Command, LinkStatus
from sw.errors import HardwareError
from sw.links.frames import Answer, FrameRequest

__all__ = ["PATIENCE_S", "Exchange", "LinkError", "Port"]

IN_FLIGHT = 32
"""Most requests in flight, that is, sent but not answered."""

PATIENCE_S = 0.25
"""Seconds that an answer may take, in addition to the transmission time."""

MOST_TIMEOUTS, MOST_REPETITIONS = 8, 16
"""Most time-outs, and most repetitions, without an answer in between, before the connection fails."""

HELLO_TRIES = 3

TOO_MANY_ERRORS = "too many errors on the line: use a lower bit rate or a shorter cable"

LONGEST_FRAME_BYTES = 2048
"""More bytes than this without an end of frame are noise and are discarded."""


class LinkError(HardwareError):
    """The serial link failed and cannot be used any more. Connect again."""


class Port(Protocol):
    """The used part of pyserial's `Serial`. `read` returns after a short time-out; errors are OSError."""

    @property
    def name(self) -> str | None:
        """Name of the port in the operating system."""
        ...

    @property
    def in_waiting(self) -> int:
        """Bytes that can be read without waiting."""
        ...

    def read(self, size: int = 1, /) -> bytes:
        """Read up to `size` bytes."""
        ...

    def write(self, content: bytes, /) -> Any:
        """Write all bytes."""
        ...

    def close(self) -> None:
        """May be called again."""
        ...


@dataclass
class _Sent:
    """A request in flight. `order` is the number of its last transmission."""

    request: FrameRequest
    frame: bytes
    order: int = 0
    answer: Answer | None = None


class Exchange:
    """Executes requests on a board, each exactly once and in order, with as many in flight as the board can buffer.

    An interrupted `run` leaves its requests in flight; the next `run` waits for their answers first.

    `counters`: exchanges (lists of requests; the host waits for the answers to each once), requests, sent_bytes,
    received_bytes (of the line), resent (requests), damaged (frames), timeouts.
    `identity` is the board's answer to `IDENTITY`.

    Raises LinkError, here and in `run`, and the same one again once the link is given up: no answer, another version,
    the port is gone, the board was reset, too many errors.
    """

    def __init__(self, port: Port, baud: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.counters: Counter[str] = Counter()
        self._port, self._clock = port, clock
        self._timeout_s = PATIENCE_S + 2 * BUFFER_BYTES * 10 / baud
        self._partial = bytearray()
        self._waiting: dict[int, _Sent] = {}  # by sequence number, in order
        self._next = self._transmissions = self._timeouts = self._repetitions = 0
        self._deadline = 0.0
        self._broken: LinkError | None = None
        self.identity = self._hello()

    def _hello(self) -> Any:
        """Begin a new session. Answers of an older session are ignored."""
        nonce = secrets.randbits(32)
        for _ in range(HELLO_TRIES):
            self.counters["exchanges"] += 1
            self._write(b"\0" + FrameRequest(Command.HELLO, address=nonce).frame(0))
            end = self._clock() + self._timeout_s
            while self._clock() < end:
                for answer in self._receive():
                    data = answer.data
                    if answer.command != Command.HELLO.value or data[:4] != nonce.to_bytes(4, "little"):
                        continue
                    version = int.from_bytes(data[4:6], "little")
                    if version != PROTOCOL_VERSION or len(data) != IDENTITY.size // 8:
                        self._give_up(f"the board uses version {version} of the link protocol, this program version "
                                      f"{PROTOCOL_VERSION}: load a bitstream of the same release")
                    return IDENTITY.from_bits(int.from_bytes(data, "little"))
        self._give_up("no board answers: switch it on and load its bitstream")

    def run(self, requests: Sequence[FrameRequest]) -> list[Answer]:
        """Send requests and return their answers in order, with any status."""
        if self._broken:
            raise self._broken
        self._progress()
        self.counters["exchanges"] += 1
        pending, mine = deque(requests), []
        while pending or self._waiting:
            fresh = []
            while pending and self._has_room(pending[0]):
                sent = _Sent(pending[0], pending.popleft().frame(self._next))
                self._waiting[self._next] = sent
                self._next = (self._next + 1) % 256
                fresh.append(sent)
            if fresh:
                mine += fresh
                self.counters["requests"] += len(fresh)
                self._send(fresh)
            self.listen()
            if self._waiting and self._clock() > self._deadline:
                self._timeouts += 1
                self.counters["timeouts"] += 1
                if self._timeouts == MOST_TIMEOUTS:
                    self._give_up("the board no longer answers: check its cable and power, and connect again")
                self._deadline = self._clock() + self._timeout_s
                self._send_again(list(self._waiting.values()))
        return [sent.answer for sent in mine if sent.answer]

    def run_anew(self, reads: Sequence[FrameRequest]) -> list[Answer]:
        """As `run`, for reads of values that change, which must be executed in order.

        If a read has to be sent again, it is executed after later reads. So all reads are then repeated.
        """
        for _ in range(MOST_REPETITIONS):
            resent = self.counters["resent"]
            answers = self.run(reads)
            if self.counters["resent"] == resent:
                return answers
        self._give_up(TOO_MANY_ERRORS)

    def listen(self) -> None:
        """Receive and discard answers for one read time-out."""
        for answer in self._receive():
            self._take(answer)

    def _has_room(self, request: FrameRequest) -> bool:
        """Whether the board can buffer one more request."""
        taken = sum(sent.request.buffer_bytes for sent in self._waiting.values())
        return len(self._waiting) < IN_FLIGHT and taken + request.buffer_bytes <= self.identity.buffer_bytes

    def _take(self, answer: Answer) -> None:
        """Process an answer to a request in flight. Requests sent before it without an answer were lost."""
        sequences = list(self._waiting)
        if answer.command == Command.REPEAT.value:
            if answer.sequence in self._waiting:
                at = sequences.index(answer.sequence)
                self._send_again([self._waiting[sequence] for sequence in sequences[at:]])
            return
        sent = self._waiting.get(answer.sequence)
        if sent is None or answer.command != sent.request.command.value:
            return
        if answer.status == LinkStatus.NO_SESSION.value:
            self._give_up("the board was reset, so its memory and registers are lost: connect again")
        sent.answer = answer
        self._progress()
        earlier = [self._waiting[sequence] for sequence in sequences[: sequences.index(answer.sequence)]]
        del self._waiting[answer.sequence]
        self._send_again([one for one in earlier if one.order < sent.order])

    def _progress(self) -> None:
        """Reset the counts of time-outs and repetitions."""
        self._timeouts = self._repetitions = 0
        self._deadline = self._clock() + self._timeout_s

    def _send_again(self, lost: list[_Sent]) -> None:
        if lost:
            self._repetitions += 1
            if self._repetitions > MOST_REPETITIONS:
                self._give_up(TOO_MANY_ERRORS)
            self.counters["resent"] += len(lost)
            self._write(b"\0")  # ends a frame whose end was lost
            self._send(lost)

    def _send(self, requests: list[_Sent]) -> None:
        for sent in requests:
            self._transmissions += 1
            sent.order = self._transmissions
        self._write(b"".join(sent.frame for sent in requests))

    def _write(self, content: bytes) -> None:
        try:
            self._port.write(content)
        except OSError as error:
            self._gone(error)
        self.counters["sent_bytes"] += len(content)

    def _receive(self) -> list[Answer]:
        """Answers that arrived, after at most one read time-out."""
        try:
            content = self._port.read(max(1, self._port.in_waiting))
        except OSError as error:
            self._gone(error)
        self.counters["received_bytes"] += len(content)
        *frames, rest = (bytes(self._partial) + content).split(b"\0")
        self._partial = bytearray(rest[-LONGEST_FRAME_BYTES:])
        answers = [Answer.of(frame) for frame in frames if frame]
        self.counters["damaged"] += answers.count(None)
        return [answer for answer in answers if answer]

    def _gone(self, error: OSError) -> NoReturn:
        self._give_up(f"the serial port disappeared ({error}): plug in the cable and connect again")

    def _give_up(self, sentence: str) -> NoReturn:
        self._broken = LinkError(sentence)
        raise self._broken
