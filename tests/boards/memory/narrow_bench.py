"""Bench of AxiNarrow between foreign AXI agents, run inside the simulator by test_axi_narrow.py."""

from __future__ import annotations

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiBus, AxiMaster, AxiRam

from sim.bench import bench_config, bench_parameters
from tests.hw.memory.agents import stalls

CONFIG = bench_config()
WORD_BYTES = bench_parameters()["data_bits"] // 8
MEMORY_BYTES = 1 << 16


async def prepare(dut, pause: float = 0.0) -> tuple[AxiMaster, AxiRam]:
    """Both ends, which pause at random, and a reset."""
    master = AxiMaster(AxiBus.from_prefix(dut, "wide_"), dut.clk, dut.rst, max_burst_len=CONFIG.burst_beats)
    ram = AxiRam(AxiBus.from_prefix(dut, "narrow_"), dut.clk, dut.rst, size=MEMORY_BYTES)
    if pause:
        channels = (
            ram.write_if.aw_channel, ram.write_if.w_channel, ram.write_if.b_channel,
            ram.read_if.ar_channel, ram.read_if.r_channel, master.write_if.w_channel, master.read_if.r_channel,
        )
        for seed, channel in enumerate(channels):
            channel.set_pause_generator(stalls(seed, pause))
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    dut.rst.value = 1
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    await RisingEdge(dut.clk)
    return master, ram


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(pause=[0.0, 0.4])
async def bytes_arrive(dut, pause: float) -> None:
    """Random lengths, any first and last byte of a beat; reads in flight while writes are."""
    master, ram = await prepare(dut, pause)
    choose = random.Random(7)
    expected = bytearray(choose.randbytes(MEMORY_BYTES))
    ram.write(0, bytes(expected))
    for _ in range(8):
        tasks = []
        for area in range(0, MEMORY_BYTES, MEMORY_BYTES // 4):
            start, count = area + choose.randrange(5000), choose.choice((1, 8, 9, choose.randrange(1, 4000)))
            if choose.random() < 0.5:
                data = choose.randbytes(count)
                tasks.append((cocotb.start_soon(master.write(start, data)), None))
                expected[start : start + count] = data
            else:
                tasks.append((cocotb.start_soon(master.read(start, count)), bytes(expected[start : start + count])))
        for task, content in tasks:
            answer = await task
            assert int(answer.resp) == 0
            assert content is None or answer.data == content
    assert ram.read(0, MEMORY_BYTES) == bytes(expected)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_word_per_clock(dut) -> None:
    """Neither direction loses a clock inside a burst."""
    master, _ = await prepare(dut)
    beats = CONFIG.burst_beats
    moved = {"r": [], "w": []}

    async def watch(channel: str) -> None:
        clock = 0
        while True:
            await RisingEdge(dut.clk)
            clock += 1
            if all(int(getattr(dut, f"narrow__{channel}{pin}").value) for pin in ("valid", "ready")):
                moved[channel].append(clock)

    for channel in moved:
        cocotb.start_soon(watch(channel))
    await master.write(0, bytes(beats * CONFIG.beat_bytes))
    await master.read(0, beats * CONFIG.beat_bytes)
    for channel, clocks in moved.items():
        words = beats * CONFIG.beat_bytes // WORD_BYTES
        assert len(clocks) == words
        assert clocks[-1] - clocks[0] == words - 1, channel


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def errors_and_early_ends_pass(dut) -> None:
    """The worst answer of a beat's words is the beat's; RLAST inside a beat ends it."""
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    for pin in ("wide__arvalid", "wide__awvalid", "wide__wvalid", "narrow__rvalid", "narrow__rlast", "narrow__bvalid"):
        getattr(dut, pin).value = 0
    dut.wide__rready.value = 1
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    ratio = CONFIG.beat_bytes // WORD_BYTES
    for bad in range(ratio):
        for word in range(ratio):
            dut.narrow__rvalid.value, dut.narrow__rresp.value = 1, 2 if word == bad else 0
            await RisingEdge(dut.clk)
            assert int(dut.wide__rvalid.value) == (word == ratio - 1)
        assert int(dut.wide__rresp.value) == 2
        dut.narrow__rresp.value = 0
        for _ in range(ratio):
            await RisingEdge(dut.clk)
        assert int(dut.wide__rresp.value) == 0
    dut.narrow__rlast.value = 1
    await RisingEdge(dut.clk)
    assert int(dut.wide__rvalid.value)
    assert int(dut.wide__rlast.value)
    dut.narrow__rlast.value = 0
    for word in range(ratio):
        await RisingEdge(dut.clk)
        assert int(dut.wide__rvalid.value) == (word == ratio - 1)
