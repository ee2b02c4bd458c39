"""Both ends of a stream, for cocotb. This file drives, watches and checks `valid`, `ready`, `payload`.

Payloads are plain integers: pack and unpack them with the layout of the port
(`layout.const({...}).as_value().value`, `layout.from_bits(...)`). Stalls are random but seeded: the same seed gives
the same run. `times` has the simulated time of each transfer in ns.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from cocotb.triggers import RisingEdge
from cocotb.utils import get_sim_time

__all__ = ["StreamDriver", "StreamError", "StreamMonitor"]


class StreamError(AssertionError):
    """A stream broke a rule, or did not move in time."""


class StreamDriver:
    """Sends payloads into a stream of the component.

    In an idle clock the payload is the complement of the next one, so that a component that uses it fails.

    Args:
        dut: the simulated top module.
        name: name of the stream port.
        stall: probability of an idle clock before each payload, 0 to 1.
        seed: of the stalls.
    """

    def __init__(self, dut: Any, name: str, *, stall: float = 0.0, seed: int | str = 0) -> None:
        self.clock, self.name, self.stall = dut.clk, name, stall
        self.valid = getattr(dut, f"{name}__valid")
        self.ready = getattr(dut, f"{name}__ready")
        self.payload = getattr(dut, f"{name}__payload")
        self.random = random.Random(seed)
        self.sent = 0
        self.times: list[float] = []
        self.mask = (1 << len(self.payload)) - 1
        self.valid.value = 0

    async def send(self, payloads: Iterable[int], *, timeout_cycles: int = 10_000) -> None:
        """Send all payloads; return in the clock after the last was accepted.

        Raises StreamError when one payload waits longer than `timeout_cycles`.
        """
        for payload in payloads:
            while self.random.random() < self.stall:
                self.valid.value = 0
                self.payload.value = self.mask ^ payload
                await RisingEdge(self.clock)
            self.payload.value = payload
            self.valid.value = 1
            for _ in range(timeout_cycles):
                await RisingEdge(self.clock)
                if self.ready.value == 1:
                    break
            else:
                raise StreamError(f"{self.name}: payload {self.sent} was not accepted in {timeout_cycles} cycles")
            self.sent += 1
            self.times.append(get_sim_time("ns"))
        self.valid.value = 0


class StreamMonitor:
    """Takes payloads from a stream of the component and checks its rules.

    `valid` must stay high, and the payload must not change, until `ready` was high. `valid` must not wait for `ready`:
    with stalls, before half of the payloads `ready` stays low until `valid` is high, so that a component that waits
    stands still. What was taken is in `received`. Start `run()` with `cocotb.start_soon`.

    Args:
        dut: the simulated top module.
        name: name of the stream port.
        stall: probability that a clock is not ready, 0 to 1.
        seed: of the stalls.
    """

    def __init__(self, dut: Any, name: str, *, stall: float = 0.0, seed: int | str = 0) -> None:
        self.clock, self.name, self.stall = dut.clk, name, stall
        self.valid = getattr(dut, f"{name}__valid")
        self.ready = getattr(dut, f"{name}__ready")
        self.payload = getattr(dut, f"{name}__payload")
        self.random = random.Random(seed)
        self.received: list[int] = []
        self.times: list[float] = []
        self.ready.value = 0

    async def run(self) -> None:
        """Take payloads for ever. Raises StreamError when a rule is broken."""
        waiting: int | None = None
        valid_first = False
        while True:
            ready = self.random.random() >= self.stall and (waiting is not None or not valid_first)
            self.ready.value = int(ready)
            await RisingEdge(self.clock)
            if self.valid.value != 1:
                if waiting is not None:
                    raise StreamError(f"{self.name}: valid fell before payload {len(self.received)} was taken")
                continue
            payload = int(self.payload.value)
            if waiting is not None and payload != waiting:
                raise StreamError(f"{self.name}: payload {len(self.received)} changed before it was taken")
            waiting = None if ready else payload
            if ready:
                self.received.append(payload)
                self.times.append(get_sim_time("ns"))
                valid_first = self.stall > 0 and self.random.random() < 0.5

    async def wait_for(self, count: int, *, timeout_cycles: int = 10_000) -> None:
        """Wait until `count` payloads were taken in all; StreamError after `timeout_cycles` without a new one."""
        idle, seen = 0, len(self.received)
        while len(self.received) < count:
            await RisingEdge(self.clock)
            idle = 0 if len(self.received) != seen else idle + 1
            seen = len(self.received)
            if idle > timeout_cycles:
                raise StreamError(f"{self.name}: only {seen} of {count} payloads, none for {timeout_cycles} cycles")

    async def expect_silence(self, cycles: int = 100) -> None:
        """Fail if anything comes out in the next `cycles` clocks."""
        seen = len(self.received)
        for _ in range(cycles):
            await RisingEdge(self.clock)
        if len(self.received) != seen:
            raise StreamError(f"{self.name}: {len(self.received) - seen} payloads too many")
