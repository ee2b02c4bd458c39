"""Part of the link that runs inside the simulator: executes the orders of sim/links/simulator_process.py."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer
from numpy.typing import NDArray

from sim.agents.axi_lite import AxiLitePort
from sim.bench import bench_config, bench_parameters
from sim.links.sampler import Sampler
from sim.links.simulator_process import ALIVE_S, STOP, Reply
from sim.memory.top import memory_bytes
from sw.errors import HardwareError
from sw.image import ModelImage
from sw.job import JobResult, execute
from sw.registers import ABORT_PAUSES, Machine
from sw.requests import Request

PERIOD_NS = 10
POLL_CLOCKS = 1000
"""A pause has at least these, and is watched as often."""


class SimulatedBus:
    """Registers by AXI4-Lite, memory by the back door. `watch` is called in every pause, and may end it with an error.

    `left_cycles` is what a run may still take; it sinks with every pause. `sampler` takes a sample in every pause, and
    in a longer one as often as it wants.
    """

    sampler: Sampler | None = None

    def __init__(self, dut: Any, limit_cycles: int, watch: Callable[[], None] = lambda: None) -> None:
        self._port = AxiLitePort(dut, "s_axi_ctrl", dut.aclk)
        self._memory = memory_bytes(dut)
        self._clock = dut.aclk
        self.left_cycles, self._watch = limit_cycles, watch

    async def read_registers(self, addresses: Sequence[int]) -> list[int]:
        return [await self._port.read(address) for address in addresses]

    async def write_registers(self, pairs: Sequence[tuple[int, int]]) -> None:
        for address, value in pairs:
            await self._port.write(address, value)

    def _area(self, address: int, size: int) -> NDArray[np.uint8]:
        if address + size > len(self._memory):
            raise HardwareError(
                f"{size} bytes at {address:#x} are outside of the simulated memory of {len(self._memory)} bytes"
            )
        return self._memory[address : address + size]

    async def read_memory(self, address: int, size: int) -> NDArray[np.uint8]:
        return self._area(address, size).copy()

    async def write_memory(self, address: int, content: bytes) -> None:
        self._area(address, len(content))[:] = np.frombuffer(content, dtype=np.uint8)

    async def pause(self, clocks: int) -> None:
        left = max(clocks, POLL_CLOCKS)
        while left > 0:
            part = min(left, POLL_CLOCKS if self.sampler is None else self.sampler.clocks)
            left -= part
            self.left_cycles -= part
            if self.left_cycles < 0:
                self.left_cycles = POLL_CLOCKS * ABORT_PAUSES  # for the abort that follows
                raise HardwareError("the simulated accelerator did not finish within its limit of clocks")
            self._watch()
            await Timer(part * PERIOD_NS, "ns")
            if self.sampler is not None:
                await RisingEdge(self._clock)
                await self.sampler.take()
        await RisingEdge(self._clock)

    def sample(self, wanted: bool) -> None:
        """Whether the next run is sampled."""
        self.sampler = Sampler(self._port) if wanted else None


async def start(dut: Any, limit_cycles: int = 0, watch: Callable[[], None] = lambda: None) -> SimulatedBus:
    """Clock and reset."""
    cocotb.start_soon(Clock(dut.aclk, PERIOD_NS, "ns").start())
    dut.aresetn.value = 0
    for _ in range(4):
        await RisingEdge(dut.aclk)
    bus = SimulatedBus(dut, limit_cycles, watch)
    dut.aresetn.value = 1
    await RisingEdge(dut.aclk)
    return bus


class Server:
    """Orders by name; what they return is the result."""

    def __init__(self, dut: Any, image: ModelImage, channel: Connection, bus: SimulatedBus) -> None:
        self._dut, self._image, self._channel, self._bus = dut, image, channel, bus
        self._machine = Machine(bus)
        self.read_memory, self.write_memory = bus.read_memory, bus.write_memory

    def _beats(self) -> dict[str, int]:
        """Beats of memory traffic since the start."""
        ports = range(self._image.plan.config.ports)
        return {
            name: sum(int(getattr(self._dut, f"m_axi_{port}_{name}").value) for port in ports)
            for name in ("beats_read", "beats_written")
        }

    async def run(self, request: Request, limit_cycles: int, sampled: bool) -> tuple[dict[str, Any], Any]:
        """Runs a request; tokens are replied as they come. What was measured, and the rows of logits."""
        self._bus.left_cycles = limit_cycles
        self._bus.sample(sampled)
        before, result = self._beats(), JobResult()
        async for token in execute(self._machine, self._image.plan, request, result):
            self._channel.send((Reply.TOKEN, token))
        beats = {name: beats - before[name] for name, beats in self._beats().items()}
        samples = self._bus.sampler.samples if self._bus.sampler else []
        measured = {"cycles": result.cycles, "counters": result.counters, "samples": samples,
                    "heads": result.heads, **beats}
        return measured, (result.logits, result.lists)


def _watch(channel: Connection) -> Callable[[], None]:
    """Function to call in every pause of a run: receives STOP, sends ALIVE. It raises EOFError on a closed channel."""
    said = time.monotonic()

    def watch() -> None:
        nonlocal said
        if channel.poll() and channel.recv() == (STOP,):
            raise HardwareError("the run was stopped")
        if time.monotonic() - said > ALIVE_S:
            channel.send((Reply.ALIVE, None))
            said = time.monotonic()

    return watch


@cocotb.test()
async def serve(dut: Any) -> None:
    """Order after order, until the other side closes the channel."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other side decides what an interrupt ends
    parameters: dict[str, Any] = bench_parameters()
    with Connection(parameters["channel"]) as channel, suppress(EOFError, ConnectionError):
        image = ModelImage.open(Path(parameters["image"]), bench_config())
        server = Server(dut, image, channel, await start(dut, watch=_watch(channel)))
        while True:
            name, *arguments = channel.recv()
            if name == STOP:  # came when its order had just ended
                continue
            try:
                reply = Reply.DONE, await getattr(server, name)(*arguments)
            except HardwareError as error:
                reply = Reply.FAILED, str(error)
            channel.send(reply)
