"""Runs a request inside the simulator: the register protocol of sw/job.py on the Verilated accelerator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer
from numpy.typing import NDArray

from sim.agents.axi_lite import AxiLitePort
from sim.bench import bench_config, bench_parameters
from sim.memory.top import memory_bytes
from sw.errors import HardwareError
from sw.image import ModelImage
from sw.job import JobResult, Layout, execute
from sw.requests import request_from

PERIOD_NS = 10
POLL_CLOCKS = 1000


class SimulatedBus:
    """Registers by AXI4-Lite, memory by the back door. A file named `stop` ends the run."""

    def __init__(self, dut: Any, limit_cycles: int, stop: Path | None = None) -> None:
        self._port = AxiLitePort(dut, "s_axi_ctrl", dut.aclk)
        self._memory = memory_bytes(dut)
        self._clock = dut.aclk
        self._left, self._stop = limit_cycles, stop

    async def read(self, address: int) -> int:
        return await self._port.read(address)

    async def write(self, address: int, value: int) -> None:
        await self._port.write(address, value)

    def _area(self, address: int, size: int) -> NDArray[np.uint8]:
        if address + size > len(self._memory):
            raise HardwareError(
                f"{size} bytes at {address:#x} lie outside of the simulated memory, which has {len(self._memory)} bytes"
            )
        return self._memory[address : address + size]

    async def read_memory(self, address: int, size: int) -> NDArray[np.uint8]:
        return self._area(address, size).copy()

    async def write_memory(self, address: int, content: bytes) -> None:
        self._area(address, len(content))[:] = np.frombuffer(content, dtype=np.uint8)

    async def pause(self) -> None:
        self._left -= POLL_CLOCKS
        if self._left < 0:
            raise HardwareError("the simulated accelerator did not finish within its limit of clocks")
        if self._stop and self._stop.exists():
            raise HardwareError("the run was stopped")
        await Timer(POLL_CLOCKS * PERIOD_NS, "ns")
        await RisingEdge(self._clock)


async def start(dut: Any, limit_cycles: int, stop: Path | None = None) -> SimulatedBus:
    """Clock and reset."""
    cocotb.start_soon(Clock(dut.aclk, PERIOD_NS, "ns").start())
    dut.aresetn.value = 0
    for _ in range(4):
        await RisingEdge(dut.aclk)
    bus = SimulatedBus(dut, limit_cycles, stop)
    dut.aresetn.value = 1
    await RisingEdge(dut.aclk)
    return bus


@cocotb.test()
async def run_job(dut: Any) -> None:
    """Tokens and errors go to `events`, one JSON object a line; the logits to `logits`."""
    parameters: dict[str, Any] = bench_parameters()
    config = bench_config()
    image = ModelImage.open(Path(parameters["image"]), config)
    request = request_from(parameters["request"])
    bus = await start(dut, parameters["limit_cycles"], Path(parameters["stop"]))
    kv, kv_base = np.load(parameters["kv"]), Layout.of(config, image).kv
    await bus.write_memory(kv_base, kv.tobytes())
    result = JobResult()
    with open(parameters["events"], "w", buffering=1) as events:
        try:
            async for token in execute(bus, config, image, request, result):
                print(json.dumps({"token": token}), file=events)
        except HardwareError as error:
            print(json.dumps({"error": str(error)}), file=events)
            return
        np.save(parameters["kv"], (await bus.read_memory(kv_base, kv.size)).reshape(kv.shape))
        if result.logits:
            np.save(parameters["logits"], np.stack(result.logits))
        beats = {
            name: sum(int(getattr(dut, f"m_axi_{port}_{name}").value) for port in range(config.ports))
            for name in ("beats_read", "beats_written")
        }
        print(json.dumps({"cycles": result.cycles, "counters": result.counters, **beats}), file=events)
