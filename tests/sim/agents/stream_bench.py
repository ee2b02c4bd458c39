"""Inside the simulator: driver and monitor at a stream buffer that is faulty, or not."""

from collections.abc import Awaitable

import cocotb
import pytest
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, with_timeout

from sim.agents.stream import StreamDriver, StreamError, StreamMonitor
from sim.bench import bench_parameters
from tests.sim.agents.faulty_stream import Fault

PAYLOADS = [0x11, 0x22, 0x33, 0x44]


class Bench:
    def __init__(self, dut, stall: float) -> None:
        self.dut = dut
        self.driver = StreamDriver(dut, "i", stall=stall, seed=1)
        self.monitor = StreamMonitor(dut, "o", stall=stall, seed=2)

    async def start(self, fault: Fault) -> None:
        cocotb.start_soon(Clock(self.dut.clk, 10, unit="ns").start())
        self.dut.fault.value = fault.value
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 2)
        self.dut.rst.value = 0


async def started(dut, fault: Fault, stall: float = 0.8) -> Bench:
    bench = Bench(dut, stall)
    await bench.start(fault)
    return bench


async def expect(error: str, waiting: Awaitable[None]) -> None:
    with pytest.raises(StreamError, match=error):
        await with_timeout(waiting, 100, "us")


@cocotb.test()
@cocotb.parametrize(stall=[0.0, 0.8])
async def nothing_wrong(dut, stall):
    bench = await started(dut, Fault.NONE, stall)
    cocotb.start_soon(bench.monitor.run())
    await bench.driver.send(PAYLOADS)
    await bench.monitor.wait_for(len(PAYLOADS))
    await bench.monitor.expect_silence()
    assert bench.monitor.received == PAYLOADS
    assert bench.driver.sent == len(bench.driver.times) == len(bench.monitor.times) == len(PAYLOADS)


@cocotb.test()
async def valid_falls(dut):
    bench = await started(dut, Fault.VALID_FALLS)
    cocotb.start_soon(bench.driver.send(PAYLOADS))
    await expect("o: valid fell before payload 2 was taken", bench.monitor.run())


@cocotb.test()
async def payload_changes(dut):
    bench = await started(dut, Fault.PAYLOAD_CHANGES)
    cocotb.start_soon(bench.driver.send(PAYLOADS))
    await expect("o: payload 2 changed before it was taken", bench.monitor.run())


@cocotb.test()
async def never_ready(dut):
    bench = await started(dut, Fault.NEVER_READY)
    cocotb.start_soon(bench.monitor.run())
    await expect("i: payload 2 was not accepted in 50 cycles", bench.driver.send(PAYLOADS, timeout_cycles=50))


@cocotb.test()
async def waits_for_ready(dut):
    bench = await started(dut, Fault.WAITS_FOR_READY)
    cocotb.start_soon(bench.monitor.run())
    cocotb.start_soon(bench.driver.send(PAYLOADS * 4))
    await expect("o: only . of 16 payloads", bench.monitor.wait_for(16, timeout_cycles=200))


@cocotb.test()
async def one_too_few(dut):
    bench = await started(dut, Fault.NONE)
    cocotb.start_soon(bench.monitor.run())
    await bench.driver.send(PAYLOADS)
    await expect("o: only 4 of 5 payloads, none for 50 cycles", bench.monitor.wait_for(5, timeout_cycles=50))


@cocotb.test()
async def one_too_many(dut):
    bench = await started(dut, Fault.TWICE)
    cocotb.start_soon(bench.monitor.run())
    cocotb.start_soon(bench.driver.send(PAYLOADS))
    await bench.monitor.wait_for(len(PAYLOADS))
    await expect("o: 1 payloads too many", bench.monitor.expect_silence())


@cocotb.test()
async def nobody_catches_it(dut):
    """Only with the parameter `fault`: the monitor breaks off the test from the background."""
    if "fault" not in bench_parameters():
        return
    bench = await started(dut, Fault[bench_parameters()["fault"]])
    cocotb.start_soon(bench.monitor.run())
    await bench.driver.send(PAYLOADS)
    await bench.monitor.wait_for(len(PAYLOADS))
