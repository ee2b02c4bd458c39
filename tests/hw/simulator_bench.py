"""Inside the simulator: call a function of a test module, whose simulator is this one."""

import importlib

import cocotb
from cocotb.clock import Clock
from cocotb.task import bridge

from sim.bench import bench_parameters
from tests.hw import simulator


@cocotb.test()
async def call_the_function(dut):
    parameters = bench_parameters()
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    simulator.model = dut
    await bridge(getattr(importlib.import_module(parameters["module"]), parameters["function"]))()
