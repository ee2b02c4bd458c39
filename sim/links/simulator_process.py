"""Process of the simulator of a link. It executes one order after the other and keeps its memory between them.

Orders and replies are tuples on a pair of sockets. The simulated clock stands still while the process waits for an
order. When either side ends, the other one notices at once: nothing is left running.
"""

from __future__ import annotations

import multiprocessing
import subprocess
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path
from typing import Any

from hw.accelerator import Accelerator
from hw.contract.config import AccelConfig
from sim.bench import BenchError, start_bench
from sim.memory.top import SimulatedMemory
from sw.errors import HardwareError

__all__ = ["ALIVE_S", "STOP", "TOP", "Reply", "SimulatorProcess"]

TOP = "accelerator"
ALIVE_S = 1
"""Seconds between the ALIVE messages of a busy simulator."""

SILENCE_S = 120
"""Seconds without a reply after which a simulator counts as hung. Its start takes one or two."""

CLOSE_S = 10
"""Seconds that a simulator may take to end when its orders do."""

STOP = "stop"
"""An order that ends the one under way; there is no reply to it."""


class Reply(Enum):
    """Every order but STOP has replies up to the first DONE or FAILED."""

    ALIVE = auto()
    TOKEN = auto()
    DONE = auto()  # with the result
    FAILED = auto()  # with the sentence of a HardwareError


class SimulatorProcess:
    """Starts the Verilated accelerator of a configuration with `memory` behind its ports, which holds an image."""

    def __init__(self, config: AccelConfig, memory: SimulatedMemory, image: Path) -> None:
        self._channel, theirs = multiprocessing.Pipe()
        self._busy = False
        self._gone = ""
        with theirs:
            self._bench = start_bench(
                Accelerator(config), config, "sim.links.simulated_bench", top=TOP, memory=memory,
                parameters={"channel": theirs.fileno(), "image": str(image.resolve())}, descriptors=[theirs.fileno()],
            )

    def order(self, name: str, *arguments: object) -> None:
        """Begins an order of sim/links/simulated_bench.py. Raises HardwareError if the simulator is gone or at work."""
        if self._gone:
            raise HardwareError(f"the simulator has ended, and its memory is lost: {self._gone}; open another session")
        if self._busy:
            raise HardwareError("the simulator is busy with another run: end that run first")
        self._busy = True
        self._send(name, *arguments)

    def reply(self, check: Callable[[], None] = lambda: None) -> tuple[Reply, Any]:
        """The next TOKEN or DONE of an order. While it waits it calls `check` once a second at least, which may raise.

        Raises HardwareError: the order failed, the simulator ended, or it is silent for SILENCE_S.
        """
        while True:
            kind, value = self._receive(check)
            self._busy = kind in (Reply.ALIVE, Reply.TOKEN)
            if kind is Reply.FAILED:
                raise HardwareError(value)
            if kind is not Reply.ALIVE:
                return kind, value

    def settle(self) -> None:
        """Ends an order that is still under way, so that the next one can begin; never fails."""
        if not self._busy:
            return
        try:
            with suppress(HardwareError):
                self._send(STOP)
                while self._busy:
                    self.reply()
        except BaseException:
            self._end("it was interrupted")
            raise

    def close(self) -> None:
        """Ends the simulator. May be called again."""
        if self._gone:
            return
        self._gone, self._busy = "it was closed", False
        self._channel.close()
        try:
            with suppress(BenchError, subprocess.TimeoutExpired):
                self._bench.finish(CLOSE_S)
        finally:
            self._bench.end()

    def _send(self, *order: object) -> None:
        try:
            self._channel.send(order)
        except OSError as error:
            raise self._failure() from error

    def _receive(self, check: Callable[[], None]) -> tuple[Reply, Any]:
        for _ in range(SILENCE_S):  # by the second, so that a stopped process is not taken for a silent one
            check()
            if self._channel.poll(1):
                break
        else:
            self._end(f"it was silent for {SILENCE_S} s")
            raise HardwareError(f"the simulator was silent for {SILENCE_S} s and was ended")
        try:
            return self._channel.recv()
        except (EOFError, OSError) as error:
            raise self._failure() from error
        except BaseException:  # after a partly read reply, the channel is out of step
            self._end("it was interrupted")
            raise

    def _failure(self) -> HardwareError:
        """Of a simulator that has closed its end: what its log says."""
        try:
            self._bench.finish(CLOSE_S)
            why = "the simulator ended by itself"
        except BenchError as error:
            why = f"the simulator failed: {error}"
        except subprocess.TimeoutExpired:
            why = "the simulator closed its channel and was ended"
        self._end(why)
        return HardwareError(why)

    def _end(self, why: str) -> None:
        """At once."""
        self._gone, self._busy = why, False
        self._channel.close()
        self._bench.end()
