"""Steps in Verilator: payloads as integers, a plan that cocotb reads from a file, and what it wrote to another."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amaranth.hdl import Shape

from hw.contract.config import preset
from sim.bench import run_bench
from tests.hw.steps import Plan, Run, plain, port_of

__all__ = ["run_plan"]


def _to_bits(shape: Any, value: Any) -> int:
    """Value of a port as an unsigned number; the port's own layout packs it."""
    if isinstance(shape, Shape):
        return int(value) & (1 << shape.width) - 1
    return shape.const(value).as_value().value & (1 << Shape.cast(shape).width) - 1


def _from_bits(shape: Any, bits: int) -> Any:
    if not isinstance(shape, Shape):
        return plain(shape.from_bits(bits))
    return bits - (1 << shape.width) if shape.signed and bits >> shape.width - 1 else bits


def _pin(path: str) -> str:
    return path.replace(".", "__")


def run_plan(dut: Any, plan: Plan, *, netlist: bool) -> Run:
    """Build the model of the component, or find it, and play the plan there (`steps_bench.py`)."""
    def pack(values: Mapping[str, Any]) -> dict[str, int]:
        return {_pin(name): _to_bits(port_of(dut, name).shape(), value) for name, value in values.items()}

    def pack_all(streams: Mapping[str, Any]) -> dict[str, list[int]]:
        shapes = {name: port_of(dut, name).payload.shape() for name in streams}
        return {_pin(name): [_to_bits(shapes[name], value) for value in streams[name]] for name in streams}

    text = json.dumps({
        "steps": [
            {"set": pack(step.set), "send": pack_all(step.send), "until": _pin(step.until), "clocks": step.clocks,
             "read": [_pin(name) for name in step.read]}
            for step in plan.steps
        ],
        "inputs": [_pin(name) for name in plan.inputs()],
        "outputs": [_pin(name) for name in plan.outputs],
        "pulses": {_pin(name): _pin(of or name) for name, of in plan.pulses.items()},
        "stall": plan.stall, "seed": plan.seed, "patience": plan.patience,
    })
    shapes = {name: port_of(dut, name).payload.shape() for name in plan.outputs}
    shapes |= {name: port_of(dut, of or name).shape() for name, of in plan.pulses.items()}
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder, "plan.json"), Path(folder, "run.json")
        given.write_text(text)
        config = getattr(dut, "config", None) or preset("tiny")
        run_bench(dut, config, "tests.hw.steps_bench", netlist=netlist,
                  parameters={"plan": str(given), "run": str(found)})
        run = json.loads(found.read_text())
    read = iter(run["read"])
    return Run(
        {name: [_from_bits(shape, bits) for bits in run["received"][_pin(name)]] for name, shape in shapes.items()},
        {name: run["clocks"][_pin(name)] for name in (*plan.inputs(), *shapes)},
        [[_from_bits(port_of(dut, name).shape(), bits) for name, bits in zip(step.read, next(read), strict=True)]
         for step in plan.steps if step.read],
    )
