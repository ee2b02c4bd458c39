"""This file drives and watches a component's streams in the Python simulator, with random stalls on every end."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import data
from amaranth.sim import Simulator

SILENCE = 40
"""Clocks without a transfer after which a run has ended, when no end stalls; more of them when ends do."""


def plain(value: Any) -> Any:
    """A payload constant as a dictionary of its fields, a list of its elements, or an integer."""
    if not hasattr(value, "shape"):
        return int(value)
    fields = {name: plain(value[name]) for name, _ in value.shape()}
    return list(fields.values()) if isinstance(value.shape(), data.ArrayLayout) else fields


def run_stream(
    dut: Any, inputs: Mapping[str, Sequence[Any]], *, output: str = "o", stall: float = 0.0, seed: int = 0,
    prepare: Callable[[Any], Any] | None = None,
) -> tuple[list[Any], dict[str, list[int]]]:
    """Feeds all inputs, receives until nothing moves any more.

    `stall` is the probability that an end waits in a clock. `prepare` is a testbench that runs first. Returns the
    received payloads, and per stream the numbers of the clocks with a transfer. All inputs must have been taken.
    """
    top = Module()
    top.submodules.dut = dut
    log: dict[str, list[int]] = {name: [] for name in (*inputs, output)}
    received: list[Any] = []
    silence = round(SILENCE / (1 - stall))
    clock, ready_to_start, last_event = [0], [prepare is None], [0]
    o = getattr(dut, output)

    async def count(ctx):
        if prepare is not None:
            await prepare(ctx)
            ready_to_start[0] = True
        last_event[0] = clock[0]
        while clock[0] - last_event[0] < silence:
            await ctx.tick()

    async def number(ctx):
        while True:
            await ctx.tick()
            clock[0] += 1

    def feeder(name, items):
        choose = random.Random(f"{seed} {name}")
        port = getattr(dut, name)

        async def feed(ctx):
            while not ready_to_start[0]:
                await ctx.tick()
            for item in items:
                while choose.random() < stall:
                    await ctx.tick()
                ctx.set(port.payload, item)
                ctx.set(port.valid, 1)
                taken = 0
                while not taken:
                    _, _, taken = await ctx.tick().sample(port.ready)
                log[name].append(clock[0])
                last_event[0] = clock[0]
                ctx.set(port.valid, 0)
        return feed

    async def receive(ctx):
        choose = random.Random(f"{seed} {output}")
        while True:
            ctx.set(o.ready, choose.random() >= stall)
            _, _, valid, ready, value = await ctx.tick().sample(o.valid, o.ready, o.payload)
            if valid and ready:
                received.append(plain(value))
                log[output].append(clock[0])
                last_event[0] = clock[0]

    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(count)
    simulator.add_testbench(number, background=True)
    simulator.add_testbench(receive, background=True)
    for name, items in inputs.items():
        simulator.add_testbench(feeder(name, items), background=True)
    simulator.run()
    for name, items in inputs.items():
        assert len(log[name]) == len(items), f"{name}: {len(log[name])} of {len(items)} payloads were taken"
    return received, log
