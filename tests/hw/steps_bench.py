"""Inside the simulator: play the steps of a plan, with a driver or a monitor at every stream."""

import json
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotb.utils import get_sim_time

from sim.agents.stream import StreamDriver, StreamMonitor
from sim.bench import bench_parameters

PERIOD = 10
"""Of the clock, in ns."""


def clock_number() -> int:
    return round(get_sim_time("ns")) // PERIOD


class Pulses:
    """What a plain output holds while another is high; looks like a monitor."""

    def __init__(self, dut, name: str, of: str) -> None:
        self.clock, self.high, self.value = dut.clk, getattr(dut, name), getattr(dut, of)
        self.received: list[int] = []
        self.times: list[float] = []

    async def run(self) -> None:
        while True:
            await RisingEdge(self.clock)
            if self.high.value == 1:
                self.received.append(int(self.value.value))
                self.times.append(get_sim_time("ns"))


class Bench:
    """The unit and all that the plan watches."""

    def __init__(self, dut, plan) -> None:
        self.dut, self.patience = dut, plan["patience"]
        seed, stall = plan["seed"], plan["stall"]
        self.drivers = {name: StreamDriver(dut, name, stall=stall, seed=f"{seed} {name}") for name in plan["inputs"]}
        self.monitors = {name: StreamMonitor(dut, name, stall=stall, seed=f"{seed} {name}") for name in plan["outputs"]}
        self.watched = self.monitors | {name: Pulses(dut, name, of) for name, of in plan["pulses"].items()}
        self.read: list[list[int]] = []
        self.moved = 0

    async def start(self, plan) -> None:
        cocotb.start_soon(Clock(self.dut.clk, PERIOD, unit="ns").start())
        for step in plan["steps"]:
            for name in step["set"]:
                getattr(self.dut, name).value = 0
        self.dut.rst.value = 1
        for _ in range(2):
            await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0
        for end in self.watched.values():
            cocotb.start_soon(end.run())

    def quiet(self) -> int:
        """Clocks since a payload moved in any stream, or since `moved`."""
        ends = (*self.drivers.values(), *self.monitors.values())
        times = [end.times[-1] for end in ends if end.times]
        return clock_number() - max([self.moved, *(round(time) // PERIOD for time in times)])

    async def play(self, number: int, step) -> None:
        dut = self.dut
        for name, value in step["set"].items():
            getattr(dut, name).value = value
        tasks = {name: cocotb.start_soon(self.drivers[name].send(values, timeout_cycles=10**9))
                 for name, values in step["send"].items()}
        seen, left = not step["until"], step["clocks"]
        self.moved = clock_number() + left
        while not seen or left > 0 or not all(task.done() for task in tasks.values()):
            await RisingEdge(dut.clk)
            left -= 1
            seen = seen or getattr(dut, step["until"]).value == 1
            if self.quiet() >= self.patience:
                waiting = [name for name, task in tasks.items() if not task.done()]
                raise AssertionError(f"step {number} did not end: {', '.join(waiting + [step['until']] * (not seen))}")
        if step["read"]:
            self.read.append([int(getattr(dut, name).value) for name in step["read"]])


@cocotb.test()
async def play_the_plan(dut):
    files = bench_parameters()
    plan = json.loads(Path(files["plan"]).read_text())
    bench = Bench(dut, plan)
    await bench.start(plan)
    for number, step in enumerate(plan["steps"]):
        await bench.play(number, step)
    bench.moved = clock_number()
    while bench.quiet() < bench.patience:
        await RisingEdge(dut.clk)
    ends = bench.drivers | bench.watched
    Path(files["run"]).write_text(json.dumps({
        "received": {name: end.received for name, end in bench.watched.items()},
        "clocks": {name: [round(time) // PERIOD for time in end.times] for name, end in ends.items()},
        "read": bench.read,
    }))
