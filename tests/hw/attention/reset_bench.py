"""Inside the simulator: the attention unit is reset in the middle of commands, and the next command is whole again."""

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles
from cocotb.utils import get_sim_time

from sim.bench import bench_parameters
from tests.hw.attention.attention_bench import CHUNKS, Bench

PARAMETERS = bench_parameters()
PERIOD_NS = 10
SHORTEST_RESET = 2
"""Clocks that `Faults.clear` lasts at least: the clock of the abort, and one until the memory ports are seen idle."""


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(shape=PARAMETERS["shapes"])
async def reset_at_any_moment(dut, shape):
    """A command that was cut off leaves nothing behind, in whatever state."""
    cocotb.start_soon(Clock(dut.clk, PERIOD_NS, unit="ns").start())
    bench = Bench(dut, *shape)
    await bench.reset(SHORTEST_RESET)
    chunk = CHUNKS["over the end of a block"]
    await bench.begin(**chunk)
    began = get_sim_time("ns")
    while dut.done.value != 1:
        await ClockCycles(dut.clk, 1)
    clocks = round((get_sim_time("ns") - began) / PERIOD_NS)
    await bench.reset(SHORTEST_RESET)
    random = np.random.default_rng(7)
    for moment in random.integers(1, clocks, PARAMETERS["resets"]):
        dut._log.info(f"reset after {moment} clocks")
        await bench.begin(**chunk)
        await ClockCycles(dut.clk, int(moment))
        assert dut.done.value == 0
        await bench.reset(SHORTEST_RESET)
        await bench.run(**chunk)
