"""Bench of a DRAM behind the ports with Reader, run inside the simulator by test_dram_ports.py."""

from __future__ import annotations

import json
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer

from sim.bench import bench_config, bench_parameters
from sim.memory.reference import CLOCKS, WARM_UP_CLOCKS

CONFIG, PARAMETERS = bench_config(), bench_parameters()
PERIOD_NS = 10


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def rates(dut) -> None:
    """Writes down the bytes per clock of each port."""
    cocotb.start_soon(Clock(dut.aclk, PERIOD_NS, "ns").start())
    dut.start.value = 0
    dut.aresetn.value = 0
    for _ in range(3):
        await RisingEdge(dut.aclk)
    dut.aresetn.value = 1
    dut.start.value = 1
    counts = []
    for clocks in (WARM_UP_CLOCKS, CLOCKS):
        await Timer(clocks * PERIOD_NS, "ns")
        counts.append([int(getattr(dut, f"m_axi_{n}_beats_read").value) for n in range(CONFIG.ports)])
    rates = [(after - before) * CONFIG.beat_bytes / CLOCKS for before, after in zip(*counts, strict=True)]
    Path(PARAMETERS["measured"]).write_text(json.dumps(rates))
