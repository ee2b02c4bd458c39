"""Bench of AxiNarrow between foreign AXI agents, run inside the simulator by test_axi_narrow.py."""

from __future__ import annotations

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from sim.bench import bench_config, bench_parameters
from tests.boards.memory.width_agents import clocks_of_transfers, move_bytes, prepare

CONFIG = bench_config()
WORD_BYTES = bench_parameters()["data_bits"] // 8


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(pause=[0.0, 0.4])
async def bytes_arrive(dut, pause: float) -> None:
    """No byte changes, whatever the lengths and the pauses."""
    await move_bytes(*await prepare(dut, CONFIG, pause))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_word_per_clock(dut) -> None:
    """Neither direction loses a clock inside a burst."""
    master, _ = await prepare(dut, CONFIG)
    size = CONFIG.burst_beats * CONFIG.beat_bytes

    async def act() -> None:
        await master.write(0, bytes(size))
        await master.read(0, size)

    moved = await clocks_of_transfers(dut, act, "memory")
    for channel, clocks in moved.items():
        words = size // WORD_BYTES
        assert len(clocks) == words
        assert clocks[-1] - clocks[0] == words - 1, channel


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def errors_and_early_ends_pass(dut) -> None:
    """The worst answer of a beat's words is the beat's; RLAST inside a beat ends it."""
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    for pin in ("machine__arvalid", "machine__awvalid", "machine__wvalid", "memory__rvalid", "memory__rlast",
                "memory__bvalid"):
        getattr(dut, pin).value = 0
    dut.machine__rready.value = 1
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    ratio = CONFIG.beat_bytes // WORD_BYTES
    for bad in range(ratio):
        for word in range(ratio):
            dut.memory__rvalid.value, dut.memory__rresp.value = 1, 2 if word == bad else 0
            await RisingEdge(dut.clk)
            assert int(dut.machine__rvalid.value) == (word == ratio - 1)
        assert int(dut.machine__rresp.value) == 2
        dut.memory__rresp.value = 0
        for _ in range(ratio):
            await RisingEdge(dut.clk)
        assert int(dut.machine__rresp.value) == 0
    dut.memory__rlast.value = 1
    await RisingEdge(dut.clk)
    assert int(dut.machine__rvalid.value)
    assert int(dut.machine__rlast.value)
    dut.memory__rlast.value = 0
    for word in range(ratio):
        await RisingEdge(dut.clk)
        assert int(dut.machine__rvalid.value) == (word == ratio - 1)
