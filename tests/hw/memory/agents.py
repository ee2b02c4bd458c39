"""Stream ends and a hostile AXI read port for the benches of this folder."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from hw.contract.config import AccelConfig

CONFIGS = {
    c.name: c
    for c in (
        AccelConfig(name="narrow", stream_fifo_beats=128, burst_beats=32, timeout_cycles=300),
        AccelConfig(name="wide", port_bits=512, rows=16, inputs=20, stream_fifo_beats=150, outstanding=3,
                    timeout_cycles=300),
        AccelConfig(name="tight", stream_fifo_beats=2, burst_beats=1, outstanding=1, timeout_cycles=300),
    )
}
"""Small enough that every limit is reached; `wide` crosses 4 KB often, `tight` has one beat in flight."""


def pages(config: AccelConfig, base: int = 0, end: int | None = None) -> int:
    """A `page_window` from byte `base` to before byte `end`; by default everything."""
    bits = config.address_bits - 12
    return base >> 12 | (1 << bits if end is None else end >> 12) << bits


def stalls(seed: int, probability: float) -> Iterator[bool]:
    """Endless random pauses."""
    generator = random.Random(seed)
    while True:
        yield generator.random() < probability


async def start(dut, **inputs: int) -> None:
    """Clock, inputs at 0 and a reset of two clocks."""
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    dut.rst.value = 1
    for name, value in inputs.items():
        getattr(dut, name).value = value
    for _ in range(2):
        await RisingEdge(dut.clk)
    dut.rst.value = 0


async def clocks(dut, count: int) -> None:
    """Wait."""
    for _ in range(count):
        await RisingEdge(dut.clk)


async def until(dut, signal, value: int = 1, limit: int = 5000) -> int:
    """Wait for a value, at most `limit` clocks; returns the clocks waited."""
    for count in range(limit):
        await RisingEdge(dut.clk)
        if int(signal.value) == value:
            return count
    raise AssertionError(f"{signal._name} did not become {value} within {limit} clocks")


async def send(dut, port: str, payloads: list[int], pause: Iterator[bool] | None = None) -> None:
    """Drive a stream; the payload stays until it is accepted."""
    valid, ready, payload = (getattr(dut, f"{port}__{pin}") for pin in ("valid", "ready", "payload"))
    for value in payloads:
        while pause is not None and next(pause):
            valid.value = 0
            await RisingEdge(dut.clk)
        valid.value = 1
        payload.value = value
        await RisingEdge(dut.clk)
        while not int(ready.value):
            await RisingEdge(dut.clk)
    valid.value = 0


class Sink:
    """Takes from a stream for ever. `received` holds the payloads, `held` stops it."""

    def __init__(self, dut, port: str, pause: Iterator[bool] | None = None) -> None:
        self.received: list[int] = []
        self.held = False
        self._dut, self._pause = dut, pause
        self._valid, self._ready, self._payload = (getattr(dut, f"{port}__{p}") for p in ("valid", "ready", "payload"))
        self._ready.value = 0
        self.task = cocotb.start_soon(self._run())

    async def _run(self) -> None:
        accepting = False
        while True:
            await RisingEdge(self._dut.clk)
            if accepting and int(self._valid.value):
                self.received.append(int(self._payload.value))
            accepting = not (self.held or (self._pause is not None and next(self._pause)))
            self._ready.value = accepting

    async def wait(self, count: int, limit: int = 50_000) -> int:
        """Wait for `count` payloads; returns the clocks waited."""
        for clock in range(limit):
            if len(self.received) >= count:
                return clock
            await RisingEdge(self._dut.clk)
        raise AssertionError(f"{len(self.received)} of {count} payloads after {limit} clocks")


class HostilePort:
    """An AXI read port that interleaves the two IDs beat by beat and misbehaves on demand.

    A beat holds its own address. Checks every AR: INCR, full size, no 4 KB crossing, length, bursts in flight.
    silent: answers nothing. response: RRESP of every beat. last_error: RLAST this many beats late (negative: early).
    """

    def __init__(self, dut, config: AccelConfig, seed: int = 1, pause: float = 0.0) -> None:
        self.silent, self.response, self.last_error = False, 0, 0
        self.most_in_flight = 0
        self._dut, self._config, self._pause, self._random = dut, config, pause, random.Random(seed)
        self._bursts: tuple[deque[tuple[int, int]], deque[tuple[int, int]]] = (deque(), deque())
        self._position = [0, 0]
        dut.axi__rvalid.value = 0
        dut.axi__arready.value = 0
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        dut = self._dut
        ready = False
        while True:
            await RisingEdge(dut.clk)
            if ready and int(dut.axi__arvalid.value):
                self._accept()
            assert int(dut.axi__rready.value), "RREADY fell"
            ready = self._random.random() >= self._pause
            dut.axi__arready.value = ready
            choices = [] if self.silent or self._random.random() < self._pause else [
                client for client in (0, 1) if self._bursts[client]
            ]
            dut.axi__rvalid.value = bool(choices)
            if choices:
                self._answer(self._random.choice(choices))

    def _accept(self) -> None:
        dut, config = self._dut, self._config
        address, beats = int(dut.axi__araddr.value), int(dut.axi__arlen.value) + 1
        assert int(dut.axi__arburst.value) == 1
        assert 1 << int(dut.axi__arsize.value) == config.beat_bytes
        assert beats <= config.burst_beats
        assert address // 4096 == (address + beats * config.beat_bytes - 1) // 4096, "burst crosses 4 KB"
        self._bursts[int(dut.axi__arid.value)].append((address, beats))
        self.most_in_flight = max(self.most_in_flight, sum(map(len, self._bursts)))
        assert self.most_in_flight <= config.outstanding

    def _answer(self, client: int) -> None:
        dut = self._dut
        address, beats = self._bursts[client][0]
        position = self._position[client]
        last = position == max(0, beats - 1 + self.last_error)
        dut.axi__rid.value = client
        dut.axi__rdata.value = address + position * self._config.beat_bytes
        dut.axi__rresp.value = self.response
        dut.axi__rlast.value = last
        self._position[client] = 0 if last else position + 1
        if last:
            self._bursts[client].popleft()
