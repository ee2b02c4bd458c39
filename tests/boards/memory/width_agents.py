"""Foreign AXI agents at both ends of a component that changes the width of a port, for the benches of this folder."""

from __future__ import annotations

import random
from collections.abc import Callable

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiBus, AxiMaster, AxiRam

from hw.contract.config import AccelConfig
from tests.hw.memory.agents import stalls

MEMORY_BYTES = 1 << 16


async def prepare(dut, config: AccelConfig, pause: float = 0.0) -> tuple[AxiMaster, AxiRam]:
    """Both ends, which pause at random, and a reset."""
    master = AxiMaster(AxiBus.from_prefix(dut, "machine_"), dut.clk, dut.rst, max_burst_len=config.burst_beats)
    ram = AxiRam(AxiBus.from_prefix(dut, "memory_"), dut.clk, dut.rst, size=MEMORY_BYTES)
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


async def move_bytes(master: AxiMaster, ram: AxiRam) -> None:
    """Random lengths, any first and last byte of a beat; reads in flight while writes are."""
    choose = random.Random(7)
    expected = bytearray(choose.randbytes(MEMORY_BYTES))
    ram.write(0, bytes(expected))
    for _ in range(8):
        tasks = []
        for area in range(0, MEMORY_BYTES, MEMORY_BYTES // 4):
            start, count = area + choose.randrange(5000), choose.choice((1, 8, 9, 24, choose.randrange(1, 4000)))
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


async def clocks_of_transfers(dut, act: Callable, *ports: str) -> dict[tuple[str, str], list[int]]:
    """By port and data channel, `r` or `w`: the clocks in which something was transferred while `act` ran."""
    moved = {(port, channel): [] for port in ports for channel in "rw"}

    async def watch(port: str, channel: str) -> None:
        clock = 0
        while True:
            await RisingEdge(dut.clk)
            clock += 1
            if all(int(getattr(dut, f"{port}__{channel}{pin}").value) for pin in ("valid", "ready")):
                moved[port, channel].append(clock)

    for key in moved:
        cocotb.start_soon(watch(*key))
    await act()
    return moved
