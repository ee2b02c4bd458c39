"""Every fault of the memory on every kind of access, run inside the simulator by test_fault_table.py."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from cocotb.utils import get_sim_time

from hw.contract.register_map import find
from sim.links.simulated_bench import PERIOD_NS, SimulatedBus, start
from sim.memory.faults import FaultKind, MemoryFault, memory_fault
from sw.errors import HardwareError
from sw.job import JobResult, execute
from sw.registers import Machine
from sw.requests import Job
from tests.system import faults_bench
from tests.system.fault_table import Access, cells
from tests.system.faults_bench import CONFIG, PARAMETERS, REQUEST, ChangedBus, image, run_as_golden
from tests.words import ABORT, START

POLL_CLOCKS = 200
PORT = PARAMETERS["port"]


class FaultyBus(ChangedBus):
    """Asks often, and mends the memory when the driver aborts. `started`: when START had been written, in ns. `cycles`:
    clocks of the run when its error was seen."""

    def __init__(self, bus: SimulatedBus, dut: Any, fault: MemoryFault) -> None:
        super().__init__(bus)
        self._dut, self._fault = dut, fault
        self.started = self.cycles = 0

    async def write_registers(self, pairs: Sequence[tuple[int, int]]) -> None:
        last = pairs[-1]
        if last == (find("CONTROL").address, ABORT):
            (self.cycles,) = await self.bus.read_registers([find("CYCLES_LO").address])
            self._fault.mend()
        await self.bus.write_registers(pairs)
        if last == (find("CONTROL").address, START):
            self.started = get_sim_time("ns")

    async def pause(self, clocks: int) -> None:
        await ClockCycles(self._dut.aclk, POLL_CLOCKS)


def kv_places() -> dict[str, tuple[int, int]]:
    """Parts of the first block of a KV head on the port; row and scales are those of a position of the second group."""
    plan, beat = image().plan, CONFIG.beat_bytes
    kv = plan.kv_layout
    head = plan.layout().kv + PORT * plan.kv_port_stride + REQUEST.slot * plan.slot_stride
    group = head + kv.key_group_beats * beat  # the second
    values = head + kv.block_bytes + kv.keys_beats * beat
    return {
        "keys": (head, head + kv.keys_beats * beat),
        "values": (values, values + kv.values_beats * beat),
        "scale pair": (group, group + beat),
        "key row": (group + beat, group + kv.key_group_beats * beat),
    }


def places(access: Access) -> dict[str, int]:
    """Addresses of the bursts that are spoiled."""
    layout, regions, kv = image().plan.layout(), image().plan.regions, kv_places()
    if access.place in kv:
        first, end = kv[access.place]
        return {"first": first, "end": end}
    if access.place in regions:
        region = regions[access.place]
        return {"first": region.offset, "end": region.offset + region.area}
    edges = [layout.image, layout.kv, layout.prompt, layout.tokens, layout.logits, layout.end]
    first = getattr(layout, access.place)
    return {"first": first, "end": edges[edges.index(first) + 1]}


async def stop(dut: Any, bus: SimulatedBus, access: Access, kind: FaultKind) -> tuple[str, int]:
    """Error of a run with a fault, and clocks from the address of the spoiled burst to it; aborted if possible."""
    fault, spoiled = memory_fault(dut, PORT), []
    fault.inject(kind, writes=access.writes, skip=access.skip, **places(access))

    async def look() -> None:
        while not fault.spoiled:
            await RisingEdge(dut.aclk)
        spoiled.append(get_sim_time("ns"))

    request = REQUEST
    if access.lists:
        assert isinstance(REQUEST, Job)
        request = replace(REQUEST, all_logits=False, list_at=0.7)
    looking, faulty, tokens, error = cocotb.start_soon(look()), FaultyBus(bus, dut, fault), [], ""
    try:
        async for token in execute(Machine(faulty), image().plan, request, JobResult()):
            tokens.append(token)
    except HardwareError as caught:
        error = str(caught)
    fault.mend()
    looking.cancel()
    assert tokens == PARAMETERS["tokens"][: len(tokens)], "a token that is wrong, or was never written, was given"
    assert spoiled, "no burst was spoiled"
    return error, faulty.cycles - round((spoiled[0] - faulty.started) / PERIOD_NS)


async def reset(dut: Any) -> None:
    """Of machine and memory ports; the bytes stay."""
    dut.aresetn.value = 0
    await ClockCycles(dut.aclk, 4)
    dut.aresetn.value = 1
    await ClockCycles(dut.aclk, 4)


@cocotb.test()
async def every_fault(dut: Any) -> None:
    """Writes what it finds: error, clocks, and how the machine got well again."""
    bus = await start(dut, faults_bench.LIMIT_CYCLES)
    await run_as_golden(bus)
    found = {}
    for access, kind in cells(CONFIG.ports):
        error, clocks = await stop(dut, bus, access, kind)
        recovery = "abort"
        if "then the abort did not end" in error:
            recovery = "reset"
            await reset(dut)
        assert not await faults_bench.status(bus)
        bus.left_cycles = faults_bench.LIMIT_CYCLES
        await run_as_golden(bus)
        found[f"{kind.name}, {access.name}"] = error, clocks, recovery
    Path(PARAMETERS["found"]).write_text(json.dumps(found))
