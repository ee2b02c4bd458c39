"""The host program on the Verilated board, bit by bit over its line; run inside the simulator by test_serial.py.

`SerialBus` and `MachineLink` are those of a real board. They run in a thread while simulated time stands still; it goes
on where they wait for the port.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import bridge
from cocotb.triggers import ClockCycles

from sim.agents.serial_line import SerialLine, SimulatedPort
from sim.bench import bench_config, bench_parameters
from sim.memory.top import memory_bytes
from sw.image import ModelImage
from sw.links.machine import MachineLink
from sw.links.serial import SerialBus
from sw.requests import request_from
from tests.system.serial_machine import BAUD, CLOCK_HZ

CONFIG, PARAMETERS = bench_config(), bench_parameters()


async def start(dut: Any) -> SerialLine:
    """Clock and reset."""
    cocotb.start_soon(Clock(dut.aclk, 1_000_000_000 // CLOCK_HZ, "ns").start())
    dut.rx.value = 1
    dut.aresetn.value = 0
    await ClockCycles(dut.aclk, 4)
    dut.aresetn.value = 1
    await ClockCycles(dut.aclk, 2)
    return SerialLine(dut.rx, dut.tx, BAUD)


@cocotb.test()
async def generate(dut: Any) -> None:
    """Loads an image and runs requests on it; what came out goes to a file."""
    line = await start(dut)
    port = SimulatedPort(line)
    image = ModelImage.open(Path(PARAMETERS["image"]), CONFIG)
    results = []

    def host() -> None:
        link = MachineLink(image, SerialBus(port, BAUD, port.clock))
        for plain in PARAMETERS["requests"]:
            tokens, rows = [], []
            for step in link.run(request_from(plain)):
                rows += [row.tolist() for row in step.rows]
                tokens += [] if step.token is None else [step.token]
            assert link.stats
            results.append({"tokens": tokens, "rows": rows, "cycles": link.stats.cycles})

    await bridge(host)()
    assert np.array_equal(memory_bytes(dut)[: len(image.memory)], image.memory)
    Path(PARAMETERS["found"]).write_text(json.dumps(results))
