"""The host's `SerialBus` on the Verilated board end, bit by bit; run inside the simulator by test_bandwidth.py.

The host runs in a thread while simulated time stands still, so that what is measured is simulated time.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.task import bridge

from sim.agents.serial_line import SimulatedPort
from sim.bench import bench_parameters
from sw.links.serial import SerialBus
from tests.hw.serial_link.link_bench import start
from tests.hw.serial_link.machine import BAUD

PARAMETERS = bench_parameters()
ADDRESS, SIZE = 0x1003, 96 << 10


@cocotb.test()
async def bandwidth(dut: Any) -> None:
    """Bytes to memory and back; the shares of the line's raw rate go to a file."""
    board = await start(dut)
    port, memory = SimulatedPort(board.line, PARAMETERS["latency_s"]), board.memory
    content = np.random.default_rng(2).integers(0, 256, SIZE, dtype=np.uint8)
    times: list[float] = []

    def host() -> SerialBus:
        bus = SerialBus(port, BAUD, port.clock)
        times.append(port.clock())
        asyncio.run(bus.write_memory(ADDRESS, content.tobytes()))
        times.append(port.clock())
        assert np.array_equal(asyncio.run(bus.read_memory(ADDRESS, SIZE)), content)
        times.append(port.clock())
        return bus

    counters = (await bridge(host)()).exchange.counters
    assert np.array_equal(memory[ADDRESS : ADDRESS + SIZE], content)
    assert not memory[:ADDRESS].any()
    assert not memory[ADDRESS + SIZE :].any()
    assert not counters["resent"] + counters["damaged"] + counters["timeouts"]
    shares = SIZE * 10 / BAUD / np.diff(times)
    Path(PARAMETERS["found"]).write_text(json.dumps({"write": shares[0], "read": shares[1]}))
