"""Faults on the Verilated accelerator, run inside the simulator by test_faults.py; each test runs alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
import pytest
from cocotb.triggers import ClockCycles
from numpy.typing import NDArray

from hw.contract.config import STRIPE_BYTES
from hw.contract.register_map import ErrorCode, find
from sim.bench import bench_config, bench_parameters
from sim.links.simulated_bench import SimulatedBus, start
from sim.memory.faults import FaultKind, MemoryFault, memory_fault
from sim.netlist_check import listed
from sw.errors import HardwareError
from sw.image import ModelImage
from sw.job import JobResult, execute
from sw.registers import Machine, abort
from sw.requests import Batch, Job, Request, request_from
from tests.words import ABORT, BUSY, START

LIMIT_CYCLES = 20_000_000
PARAMETERS: dict[str, Any] = bench_parameters()
CONFIG = bench_config()
REQUEST = request_from(PARAMETERS["request"])


class ChangedBus:
    """A bus that does something else than the driver asks for."""

    def __init__(self, bus: SimulatedBus) -> None:
        self.bus = bus
        self.read_registers, self.read_memory = bus.read_registers, bus.read_memory
        self.write_memory = bus.write_memory

    async def write_registers(self, pairs: Sequence[tuple[int, int]]) -> None:
        await self.bus.write_registers(pairs)

    async def pause(self, clocks: int) -> None:
        await self.bus.pause(clocks)


class MisledBus(ChangedBus):
    """Writes other values into some registers."""

    def __init__(self, bus: SimulatedBus, **values: int) -> None:
        super().__init__(bus)
        self.values = {find(name).address: value for name, value in values.items()}

    async def write_registers(self, pairs: Sequence[tuple[int, int]]) -> None:
        await self.bus.write_registers([(address, self.values.get(address, value)) for address, value in pairs])


class InterruptedBus(ChangedBus):
    """Somebody interrupts the driver so many clocks after the start. Ports that still read after the abort was written
    go into `owed`."""

    def __init__(self, bus: SimulatedBus, dut: Any, clocks: int, owed: set[str]) -> None:
        super().__init__(bus)
        self.dut, self.clocks, self.owed = dut, clocks, owed
        self.before: dict[str, int] = {}

    def _beats(self) -> dict[str, int]:
        ports = [f"m_axi_{port}" for port in range(CONFIG.ports)]
        return {port: int(getattr(self.dut, f"{port}_beats_read").value) for port in ports}

    async def write_registers(self, pairs: Sequence[tuple[int, int]]) -> None:
        await self.bus.write_registers(pairs)
        self.before = self._beats()

    async def pause(self, clocks: int) -> None:
        if self.clocks:
            await ClockCycles(self.dut.aclk, self.clocks)
            self.clocks = 0
            raise InterruptedError
        await self.bus.pause(clocks)
        self.owed |= {port for port, beats in self._beats().items() if beats > self.before[port]}


class ImpatientBus(ChangedBus):
    """Starts again and again."""

    async def pause(self, clocks: int) -> None:
        await self.bus.write_registers([(find("CONTROL").address, START)])
        await self.bus.pause(0)


def image() -> ModelImage:
    """It was packed for this machine, unless a test says otherwise; the memory may hold something else."""
    return ModelImage.open(Path(PARAMETERS["image"]), CONFIG)


async def read(bus: SimulatedBus, *names: str) -> list[int]:
    return await bus.read_registers([find(name).address for name in names])


async def status(bus: SimulatedBus) -> int:
    return (await read(bus, "STATUS"))[0]


async def run(bus: Any, request: Request = REQUEST) -> tuple[list[int], list[NDArray[np.float32]], JobResult]:
    """Tokens and logits."""
    result = JobResult()
    tokens = [token async for token in execute(Machine(bus), image().plan, request, result)]
    return tokens, result.logits, result


async def run_as_golden(bus: Any) -> JobResult:
    """The request gives what the golden machine gave."""
    tokens, logits, result = await run(bus)
    assert tokens == PARAMETERS["tokens"]
    np.testing.assert_array_equal(np.array(logits), np.load(PARAMETERS["logits"]))
    assert [listed(one) for one in result.lists] == PARAMETERS["lists"]
    return result


async def run_into(bus: Any, name: str) -> None:
    """The run ends with this error."""
    with pytest.raises(HardwareError, match=name) as caught:
        await run(bus)
    assert "then" not in str(caught.value), "the abort failed"


@cocotb.test()
async def same_as_golden(dut: Any) -> None:
    """No fault at all, twice."""
    bus = await start(dut, LIMIT_CYCLES)
    await run_as_golden(bus)
    await run_as_golden(bus)


@cocotb.test()
async def interrupt(dut: Any) -> None:
    """It is high from the end of a run, with or without an error, until the next start or an abort; never while busy,
    and not where it is not enabled."""
    bus = await start(dut, LIMIT_CYCLES)
    assert dut.irq.value == 0
    await run_as_golden(bus)
    assert dut.irq.value == 1
    await bus.write_registers([(find("INTERRUPT").address, 0)])
    await ClockCycles(dut.aclk, 2)
    assert dut.irq.value == 0
    await bus.write_registers([(find("INTERRUPT").address, 1), (find("CONTROL").address, START)])
    while await status(bus) & BUSY:
        assert dut.irq.value == 0
    assert dut.irq.value == 1
    await bus.write_registers([(find("PROMPT_LENGTH").address, 0), (find("CONTROL").address, START)])
    await ClockCycles(dut.aclk, 100)
    assert await status(bus) >> 8 == ErrorCode.BAD_PARAMETER.value
    assert dut.irq.value == 1
    await bus.write_registers([(find("CONTROL").address, ABORT)])
    await ClockCycles(dut.aclk, 10)
    assert dut.irq.value == 0


@cocotb.test()
async def addresses_outside_of_memory(dut: Any) -> None:
    """What leaves its window is never asked for, what leaves the memory is answered by it: each stops the run with an
    error of its own. After the abort the right job runs as ever."""
    bus = await start(dut, LIMIT_CYCLES)
    size, plan, layout = PARAMETERS["size"], image().plan, image().plan.layout()
    await run_as_golden(bus)
    everything = {f"{window}_{edge}": value for window in ("READ", "WRITE")
                  for edge, value in (("BASE_LO", 0), ("END_HI", 1 << CONFIG.address_bits - 32))}
    for error, registers in (
        ("READ_DECERR", {"EMBED_OFFSET": size}),
        ("READ_DECERR", {"ROPE_OFFSET": size}),
        ("READ_DECERR", {"PROMPT_ADDRESS_LO": size}),
        ("READ_DECERR", {"STREAM_OFFSET": size}),
        ("READ_DECERR", {"LM_HEAD_OFFSET": size}),
        ("READ_DECERR", {"IMAGE_BASE_HI": 1}),
        ("WRITE_DECERR", {"KV_BASE_LO": size}),
        ("WRITE_DECERR", {"SLOT_STRIDE_LO": size}),
        ("WRITE_DECERR", {"TOKENS_ADDRESS_LO": size}),
        ("WRITE_DECERR", {"LOGITS_ADDRESS_LO": size - 16}),
        ("HEADER_CRC", {"STREAM_OFFSET": layout.kv}),
        ("CONTEXT_FULL", {"PROMPT_LENGTH": plan.shape.context + 1}),
        ("BAD_PARAMETER", {"CHUNK": 0}),
        ("BAD_TOKEN", {"VOCABULARY": max(PARAMETERS["request"]["prompt"])}),
    ):
        await run_into(MisledBus(bus, **everything, **registers), error)
        assert await status(bus) == 0
        await run_into(MisledBus(bus, **registers), error.replace("DECERR", "RANGE"))
        assert await status(bus) == 0
        await run_as_golden(bus)
    await run_into(MisledBus(bus, EMBED_OFFSET=size), "READ_RANGE")
    await run_into(MisledBus(bus, TOKENS_ADDRESS_LO=size), "WRITE_RANGE")
    await run_as_golden(bus)


@cocotb.test()
async def windows_are_exact(dut: Any) -> None:
    """A page less at either end is missed: by the first header, by the last row of logits, by the first KV row."""
    bus = await start(dut, LIMIT_CYCLES)
    layout, region = image().plan.layout(), image().plan.regions
    rows = REQUEST.fed(len(PARAMETERS["tokens"])) * layout.row_bytes
    last = (layout.logits + rows - 1) // 4096 * 4096
    first_kv = layout.kv + REQUEST.slot * image().plan.slot_stride
    first_image = min(r.offset for r in region.values())
    for fits, registers in (
        (True, {"READ_BASE_LO": first_image}), (False, {"READ_BASE_LO": first_image + 4096}),
        (True, {"WRITE_END_LO": last + 4096}), (False, {"WRITE_END_LO": last}),
        (True, {"WRITE_BASE_LO": first_kv // 4096 * 4096}), (False, {"WRITE_BASE_LO": first_kv // 4096 * 4096 + 4096}),
        (True, {"READ_END_LO": layout.prompt + 4096}), (False, {"READ_END_LO": layout.prompt}),
        (False, {"WRITE_END_LO": layout.kv}),
    ):
        changed = MisledBus(bus, **registers)
        if fits:
            await run_as_golden(changed)
        else:
            await run_into(changed, f"{next(iter(registers)).partition('_')[0]}_RANGE")
    await run_as_golden(bus)


@cocotb.test()
async def kv_windows_of_every_port(dut: Any) -> None:
    """The cache of one port begins behind a window: the port is named. Reads come after writes to the same places, so
    only a window of reads that is smaller is missed by them; the prompt then lies in the cache of an unused slot."""
    bus = await start(dut, LIMIT_CYCLES)
    layout, plan = image().plan.layout(), image().plan
    assert isinstance(REQUEST, Job)
    assert REQUEST.slot == 1
    assert plan.slot_stride >= 4096, "the window of port 0 must end before its slot 1 begins"
    await run_as_golden(bus)
    await bus.write_memory(layout.kv, np.array(REQUEST.prompt, dtype="<u4").tobytes())
    await run_as_golden(MisledBus(bus, PROMPT_ADDRESS_LO=layout.kv))
    for port in range(CONFIG.ports):
        edge = layout.kv + port * plan.kv_port_stride + (0 if port else 4096)
        where = f" at memory port {port}: " if port else ": [^.]*$"
        await run_into(MisledBus(bus, PROMPT_ADDRESS_LO=layout.kv, READ_END_LO=edge), f"READ_RANGE{where}")
        await run_into(MisledBus(bus, WRITE_END_LO=edge), f"WRITE_RANGE{where}")
        assert await status(bus) == 0
        await run_as_golden(bus)


@cocotb.test()
async def bad_entries(dut: Any) -> None:
    """A sequence that cannot run is found before anything is written, and the right batch runs afterwards."""
    bus = await start(dut, LIMIT_CYCLES)
    assert isinstance(REQUEST, Batch)
    good, last = REQUEST.entries
    for error, entry in (
        ("CONTEXT_FULL", replace(last, position=image().plan.shape.context)),
        ("BAD_PARAMETER", replace(last, slot=64)),
    ):
        written = int(dut.m_axi_0_beats_written.value)
        with pytest.raises(HardwareError, match=error):
            await run(bus, replace(REQUEST, entries=(good, entry)))
        assert int(dut.m_axi_0_beats_written.value) == written
        await run_as_golden(bus)


@cocotb.test()
async def abort_at_any_moment(dut: Any) -> None:
    """The run ends, and the same job gives the same logits or shortlists, from whatever state."""
    bus = await start(dut, LIMIT_CYCLES)
    whole = (await run_as_golden(bus)).cycles
    random = np.random.default_rng(PARAMETERS["seed"])
    owed = set()
    near_the_end = [whole - clocks for clocks in PARAMETERS.get("before_end", [])]
    for clocks in (1, 30, *random.integers(1, whole, PARAMETERS["aborts"]), *near_the_end):
        with pytest.raises(InterruptedError):
            await run(InterruptedBus(bus, dut, int(clocks), owed))
        assert await status(bus) == 0
        await run_as_golden(bus)
    assert owed, "no abort had to wait for reads"


@cocotb.test()
async def closing_the_iterator_aborts(dut: Any) -> None:
    """A consumer that wants no more tokens leaves a machine at rest."""
    bus = await start(dut, LIMIT_CYCLES)
    iterator = execute(Machine(bus), image().plan, REQUEST, JobResult())
    assert await iterator.__anext__() == PARAMETERS["tokens"][0]
    assert await status(bus) & 1
    await iterator.aclose()
    assert await status(bus) == 0
    await run_as_golden(bus)


@cocotb.test()
async def start_while_busy(dut: Any) -> None:
    """It changes nothing, not even the counters."""
    bus = await start(dut, LIMIT_CYCLES)
    quiet = await run_as_golden(bus)
    result = await run_as_golden(ImpatientBus(bus))
    assert result.cycles >= quiet.cycles


@cocotb.test()
async def other_build(dut: Any) -> None:
    """The driver expects another build than it finds: it touches nothing."""
    bus = await start(dut, LIMIT_CYCLES)
    layout = image().plan.layout()
    before = (await bus.read_memory(0, PARAMETERS["size"])).copy()
    await run_into(bus, "the accelerator is build")
    await ClockCycles(dut.aclk, 2000)
    assert await status(bus) == 0
    assert await read(bus, "IMAGE_BASE_LO", "PROMPT_LENGTH") == [0, 0]
    np.testing.assert_array_equal(await bus.read_memory(0, PARAMETERS["size"]), before)
    assert int(dut.m_axi_0_beats_read.value) == int(dut.m_axi_0_beats_written.value) == 0
    assert layout.end == PARAMETERS["size"]


@cocotb.test()
async def memory_too_slow(dut: Any) -> None:
    """A time-out; the abort waits for the late answers. A slow memory is slow again, but never confuses the machine."""
    bus = await start(dut, LIMIT_CYCLES)
    for _ in range(3):
        await run_into(bus, PARAMETERS["error"])
        assert await status(bus) == 0


@cocotb.test()
async def read_errors_of_every_port(dut: Any) -> None:
    """A burst in the middle of the packet stream is spoiled, on one port at a time."""
    bus = await start(dut, LIMIT_CYCLES)
    await run_as_golden(bus)
    stream = image().plan.regions["stream"]
    for port in range(CONFIG.ports):
        fault = memory_fault(dut, port)
        for kind, error in ((FaultKind.SLVERR, "READ_SLVERR"), (FaultKind.DECERR, "READ_DECERR"),
                            (FaultKind.EARLY_LAST, "READ_LAST"), (FaultKind.LATE_LAST, "READ_LAST")):
            fault.inject(kind, first=stream.offset, end=stream.offset + stream.area, skip=5)
            await run_into(bus, f"{error} at memory port {port}: " if port else f"{error}: [^.]*$")
            assert fault.spoiled == 1
            fault.mend()
            assert await status(bus) == 0
            await run_as_golden(bus)


class StoppedBus(ChangedBus):
    """Somebody interrupts the driver while memory owes a burst, which it answers a while later."""

    def __init__(self, bus: SimulatedBus, fault: MemoryFault) -> None:
        super().__init__(bus)
        self.fault = fault

    async def pause(self, clocks: int) -> None:
        if not self.fault.kind:
            await self.bus.pause(clocks)
            return
        while not self.fault.spoiled:
            await self.bus.pause(0)
        self.fault.mend()
        raise InterruptedError


def inject(fault: MemoryFault, port: int, phase: str, kind: FaultKind) -> None:
    """A burst of this phase of a split head is spoiled. That with the first beat of a region also has its header, which
    single rows of the head are read without."""
    name, first, skip = {"dither": ("high", True, 0), "high plane": ("high", False, 2),
                         "rescoring": ("head", False, 1), "whole head": ("head", True, 0)}[phase]
    region = image().plan.regions[name]
    at = region.offset + port * (STRIPE_BYTES if CONFIG.ports > 1 else 0)
    fault.inject(kind, first=at, end=at + 1 if first else region.offset + region.area, skip=skip)


@cocotb.test()
async def split_head(dut: Any) -> None:
    """Read errors, silence and interruptions in each phase, and interruptions at any time."""
    bus = await start(dut, LIMIT_CYCLES)
    await run_as_golden(bus)
    for phase in PARAMETERS["phases"]:
        for port in range(CONFIG.ports):
            fault = memory_fault(dut, port)
            for kind, error in ((FaultKind.SLVERR, "READ_SLVERR"), (FaultKind.DECERR, "READ_DECERR"),
                                (FaultKind.EARLY_LAST, "READ_LAST"), (FaultKind.NO_ANSWER, "READ_TIMEOUT")):
                if kind.name not in PARAMETERS["kinds"]:
                    continue
                inject(fault, port, phase, kind)
                with pytest.raises(HardwareError, match=error):
                    await run(bus)
                assert fault.spoiled == 1
                fault.mend()
                if await status(bus) & BUSY:
                    await abort(bus)
                await run_as_golden(bus)
            inject(fault, port, phase, FaultKind.NO_ANSWER)
            with pytest.raises(InterruptedError):
                await run(StoppedBus(bus, fault))
            assert await status(bus) == 0
            await run_as_golden(bus)
    for clocks in PARAMETERS["interruptions"]:
        with pytest.raises(InterruptedError):
            await run(InterruptedBus(bus, dut, clocks, set()))
        await run_as_golden(bus)


@cocotb.test()
async def endless_wait(dut: Any) -> None:
    """A command that waits for more than its packet holds: the driver gives up, and the machine can be used again."""
    bus = await start(dut, LIMIT_CYCLES)
    await run_into(bus, "the accelerator hangs")
    good = np.fromfile(PARAMETERS["image"], dtype=np.uint8)
    await bus.write_memory(0, good.tobytes())
    await run_as_golden(bus)


@cocotb.test()
async def memory_that_never_answers(dut: Any) -> None:
    """The abort is given up too; after a reset of machine and memory nothing is left of it."""
    bus = await start(dut, LIMIT_CYCLES)
    with pytest.raises(HardwareError, match=r"READ_TIMEOUT.*; then the abort did not end"):
        await run(bus)
    assert await status(bus) & 1
    dut.aresetn.value = 0
    await ClockCycles(dut.aclk, 4)
    dut.aresetn.value = 1
    await ClockCycles(dut.aclk, 4)
    assert await status(bus) == 0


@cocotb.test()
async def damaged_headers(dut: Any) -> None:
    """Whatever the headers hold: the run ends with HEADER_CRC, and a good image runs afterwards."""
    bus = await start(dut, 10 * LIMIT_CYCLES)
    good = np.fromfile(PARAMETERS["image"], dtype=np.uint8)
    random = np.random.default_rng(PARAMETERS["seed"])
    for _ in range(PARAMETERS["images"]):
        bad = good.copy()
        for at in random.choice(PARAMETERS["headers"], random.integers(1, 4)):
            bad[at + random.integers(0, 32)] ^= 1 << random.integers(0, 8)
        await bus.write_memory(0, bad.tobytes())
        await run_into(bus, "HEADER_CRC")
        assert not await status(bus)
        await bus.write_memory(0, good.tobytes())
        await run_as_golden(bus)
