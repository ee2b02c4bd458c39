"""Bench of the simulated memory with Copier, run inside the simulator by test_axi_memory.py."""

from __future__ import annotations

import json
import time
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from hw.memory.axi import AxiError
from sim.bench import bench_config, bench_parameters
from sim.memory.top import memory_bytes
from tests.sim.memory.copier import CHUNK_BEATS

CONFIG = bench_config()
PARAMETERS = bench_parameters()
CHUNK_BYTES = CHUNK_BEATS * CONFIG.beat_bytes
ALL = (1 << CONFIG.beat_bytes) - 1


async def reset(dut) -> None:
    """Clock, and two clocks of reset."""
    cocotb.start_soon(Clock(dut.aclk, 10, "ns").start())
    dut.start.value = 0
    dut.aresetn.value = 0
    for _ in range(2):
        await RisingEdge(dut.aclk)
    dut.aresetn.value = 1
    await RisingEdge(dut.aclk)


async def copy(dut, source: int, destination: int, size: int, strobe: int = ALL) -> int:
    """Runs the machine; Python sleeps until it has finished. Returns the clocks."""
    dut.source.value, dut.destination.value, dut.strobe.value = source, destination, strobe
    dut.chunks.value = size // CHUNK_BYTES
    dut.start.value = 1
    await RisingEdge(dut.aclk)
    dut.start.value = 0
    await RisingEdge(dut.aclk)
    await RisingEdge(dut.done)
    return int(dut.clocks.value)


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def copies(dut) -> None:
    """The whole file to behind it; then half of the bytes of each beat over it. Records what was measured."""
    await reset(dut)
    memory, base = memory_bytes(dut), PARAMETERS["base"]
    content = np.fromfile(PARAMETERS["file"], dtype=np.uint8)
    size = content.size
    assert memory.size == 3 * size
    np.testing.assert_array_equal(memory[:size], content)
    assert not memory[size:].any()

    before = time.perf_counter()
    clocks = await copy(dut, base, base + size, size)
    seconds = time.perf_counter() - before
    assert (int(dut.read_error.value), int(dut.write_error.value)) == (AxiError.NONE.value, AxiError.NONE.value)
    np.testing.assert_array_equal(memory[:size], content)
    np.testing.assert_array_equal(memory[size : 2 * size], content)
    assert not memory[2 * size :].any()
    assert int(dut.m_axi_0_beats_read.value) == int(dut.m_axi_0_beats_written.value) == size // CONFIG.beat_bytes

    memory[:size] = ~content  # as a host would write a prompt
    half = 0x5A5A5A5A5A5A5A5A & ALL
    await copy(dut, base, base + size, size, half)
    chosen = np.array([half >> lane & 1 for lane in range(CONFIG.beat_bytes)], dtype=bool)
    expected = np.where(np.tile(chosen, size // CONFIG.beat_bytes), ~content, content)
    np.testing.assert_array_equal(memory[size : 2 * size], expected)
    Path(PARAMETERS["measured"]).write_text(json.dumps({"clocks": clocks, "seconds": seconds}))


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def outside_of_the_memory(dut) -> None:
    """DECERR below and above, for reads and writes; the bytes inside stay."""
    await reset(dut)
    memory, base = memory_bytes(dut), PARAMETERS["base"]
    before = memory.copy()
    end = base + memory.size
    for source, destination, errors in (
        (end, base, (AxiError.DECODE, AxiError.NONE)),
        (base, end, (AxiError.NONE, AxiError.DECODE)),
        (base - CHUNK_BYTES, base, (AxiError.DECODE, AxiError.NONE)),
        (base, base - CHUNK_BYTES, (AxiError.NONE, AxiError.DECODE)),
    ):
        await reset(dut)
        await copy(dut, source, destination, CHUNK_BYTES)
        assert (int(dut.read_error.value), int(dut.write_error.value)) == tuple(e.value for e in errors)
    np.testing.assert_array_equal(memory, before)
