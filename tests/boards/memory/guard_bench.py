"""Bench of PortGuard between foreign AXI agents, run inside the simulator by test_memory_guard.py."""

from __future__ import annotations

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiBus, AxiMaster, AxiRam, AxiResp

from tests.hw.memory.agents import stalls

SIZE = 1 << 12


async def prepare(dut) -> tuple[AxiMaster, AxiMaster, AxiRam]:
    """User, test and memory, all with pauses, and a reset."""
    user, test = (AxiMaster(AxiBus.from_prefix(dut, f"{name}_"), dut.clk, dut.rst) for name in ("user", "test"))
    ram = AxiRam(AxiBus.from_prefix(dut, "memory_"), dut.clk, dut.rst, size=SIZE)
    for seed, channel in enumerate((ram.write_if.w_channel, ram.read_if.ar_channel, ram.read_if.r_channel,
                                    user.write_if.w_channel, user.read_if.r_channel)):
        channel.set_pause_generator(stalls(seed, 0.3))
    dut.open.value = dut.refuse.value = 0
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    dut.rst.value = 1
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    await RisingEdge(dut.clk)
    return user, test, ram


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def the_user_waits_for_the_test(dut) -> None:
    """Nothing of the user gets through before the test is over, all of it behind."""
    user, test, ram = await prepare(dut)
    ram.write(0, bytes(SIZE))
    asked = [cocotb.start_soon(user.write(256, b"user" * 40)), cocotb.start_soon(user.read(0, 96))]
    await test.write(0, b"test" * 24)
    assert (await test.read(0, 96)).data == b"test" * 24
    await ClockCycles(dut.clk, 50)
    assert not any(task.done() for task in asked)
    assert ram.read(256, 160) == bytes(160)
    dut.open.value = 1
    assert int((await asked[0]).resp) == AxiResp.OKAY
    assert (await asked[1]).data == b"test" * 24
    assert ram.read(256, 160) == b"user" * 40


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def refused_bursts_are_answered(dut) -> None:
    """What waited and what comes later, reads and writes of one beat and of many, each with SLVERR; nothing is done."""
    user, _, ram = await prepare(dut)
    ram.write(0, bytes(SIZE))
    asked = [cocotb.start_soon(user.write(256, b"user" * 40)), cocotb.start_soon(user.read(0, 960))]
    await ClockCycles(dut.clk, 50)
    dut.refuse.value = 1
    for _ in range(3):
        for task in asked:
            answer = await with_timeout(task, 100, "us")
            assert int(answer.resp) == AxiResp.SLVERR
        asked = [cocotb.start_soon(user.read(16, 16)), cocotb.start_soon(user.write(3, b"x")),
                 cocotb.start_soon(user.write(100, bytes(999))), cocotb.start_soon(user.read(1, 2000))]
    assert ram.read(0, SIZE) == bytes(SIZE)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_late_test_of_a_refused_memory_is_held_back(dut) -> None:
    """What it asks once the memory is given up on reaches nobody."""
    _, test, ram = await prepare(dut)
    ram.write(0, bytes(SIZE))
    dut.refuse.value = 1
    asked = [cocotb.start_soon(test.write(256, b"late" * 24)), cocotb.start_soon(test.read(0, 96))]
    await ClockCycles(dut.clk, 300)
    assert not any(task.done() for task in asked)
    assert ram.read(0, SIZE) == bytes(SIZE)
