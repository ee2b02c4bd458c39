"""One job on the machine in front of the memory, run inside the simulator by sim/netlist_check.py."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cocotb

from sim.bench import bench_config, bench_parameters
from sim.links.simulated_bench import start
from sim.netlist_check import listed
from sw.image import ModelImage
from sw.job import JobResult, execute
from sw.registers import Machine
from sw.requests import request_from


@cocotb.test()
async def run_job(dut: Any) -> None:
    """Tokens, logits, shortlists, clocks and counters go to a file."""
    parameters: dict[str, Any] = bench_parameters()
    config = bench_config()
    machine = Machine(await start(dut, parameters["limit_cycles"]))
    result = JobResult()
    image = ModelImage.open(Path(parameters["image"]), config)
    tokens = [token async for token in execute(machine, image.plan, request_from(parameters["request"]), result)]
    content = {"tokens": tokens, "logits": [row.tolist() for row in result.logits],
               "lists": [listed(one) for one in result.lists], "cycles": result.cycles, "counters": result.counters,
               "heads": asdict(result.heads) if result.heads else None}
    Path(parameters["result"]).write_text(json.dumps(content))
