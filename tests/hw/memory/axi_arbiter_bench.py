"""Bench of AxiArbiter with two copying machines, run inside the simulator by test_axi_arbiter.py."""

from __future__ import annotations

import random
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

from sim.bench import bench_config, bench_parameters
from sim.memory.top import memory_bytes
from tests.sim.memory.copier import CHUNK_BEATS

CONFIG, PARAMETERS = bench_config(), bench_parameters()
CHUNK_BYTES = CHUNK_BEATS * CONFIG.beat_bytes
AREA_BYTES = 64 * CHUNK_BYTES
LIMIT_CLOCKS = 200_000


async def start(dut) -> np.ndarray:
    """Clock and reset; the memory, with content in its first half."""
    cocotb.start_soon(Clock(dut.aclk, 10, "ns").start())
    for prefix in PARAMETERS["machines"]:
        getattr(dut, f"{prefix}start").value = 0
        getattr(dut, f"{prefix}strobe").value = (1 << CONFIG.beat_bytes) - 1
    dut.aresetn.value = 0
    await ClockCycles(dut.aclk, 2)
    dut.aresetn.value = 1
    await RisingEdge(dut.aclk)
    memory = memory_bytes(dut)
    memory[: 2 * AREA_BYTES] = np.random.default_rng(1).integers(0, 256, 2 * AREA_BYTES)
    memory[2 * AREA_BYTES :] = 0
    return memory


async def copy(dut, prefix: str, source: int, destination: int, chunks: int) -> int:
    """Runs a machine; returns the clocks."""
    values = {"source": source, "destination": destination, "chunks": chunks, "start": 1}
    for name, value in values.items():
        getattr(dut, f"{prefix}{name}").value = value
    await RisingEdge(dut.aclk)
    getattr(dut, f"{prefix}start").value = 0
    await ClockCycles(dut.aclk, 2)
    for _ in range(LIMIT_CLOCKS // 100):
        if int(getattr(dut, f"{prefix}done").value):
            assert not int(getattr(dut, f"{prefix}read_error").value), "the memory refused a read"
            assert not int(getattr(dut, f"{prefix}write_error").value), "the memory refused a write"
            return int(getattr(dut, f"{prefix}clocks").value)
        await ClockCycles(dut.aclk, 100)
    raise AssertionError(f"machine {prefix!r} did not end within {LIMIT_CLOCKS} clocks")


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def alone(dut) -> None:
    """One machine works; its clocks go to a file."""
    memory = await start(dut)
    clocks = [await copy(dut, prefix, 0, 2 * AREA_BYTES, 64) for prefix in PARAMETERS["machines"]]
    assert np.array_equal(memory[2 * AREA_BYTES : 3 * AREA_BYTES], memory[:AREA_BYTES])
    Path(PARAMETERS["clocks"]).write_text(" ".join(map(str, clocks)))


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def together(dut) -> None:
    """One machine copies all the time, the other now and then: each gets what it asked for, and is not kept waiting."""
    memory = await start(dut)
    choice = random.Random(4)
    task = cocotb.start_soon(copy(dut, "", 0, 2 * AREA_BYTES, 64))
    longest = at = 0
    while not task.done() and at + 4 <= 64:
        chunks = choice.randrange(1, 5)
        place = at * CHUNK_BYTES
        longest = max(longest, await copy(dut, "other_", AREA_BYTES + place, 3 * AREA_BYTES + place, chunks))
        at += chunks
        await ClockCycles(dut.aclk, choice.choice((1, 2, 30, 200)))
    clocks = await task
    assert at > 8
    assert np.array_equal(memory[2 * AREA_BYTES : 3 * AREA_BYTES], memory[:AREA_BYTES])
    end = at * CHUNK_BYTES
    assert np.array_equal(memory[3 * AREA_BYTES : 3 * AREA_BYTES + end], memory[AREA_BYTES : AREA_BYTES + end])
    assert not memory[3 * AREA_BYTES + end :].any()
    Path(PARAMETERS["clocks"]).write_text(f"{clocks} {longest}")
