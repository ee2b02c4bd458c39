"""Bench of MemoryPorts, run inside the simulator by test_memory_ports.py."""

from __future__ import annotations

import random
from itertools import repeat

import cocotb
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiRamRead, AxiReadBus

from hw.contract.config import STRIPE_BYTES
from hw.memory.axi import AxiError
from sim.bench import bench_config
from tests.hw.memory.agents import Sink, clocks, pages, send, stalls, start, until

CONFIG = bench_config()
PORTS, SIZE = CONFIG.ports, CONFIG.beat_bytes
MEMORY_BYTES = 1 << 19


def memory_of(content: bytes) -> bytes:
    """Beats of the stream, laid out byte by byte as docs/model-image.md says."""
    memory = bytearray(MEMORY_BYTES)
    for at, byte in enumerate(content):
        beat, inside = divmod(at, PORTS * SIZE)
        port, lane = divmod(inside, SIZE)
        row, place = divmod(beat * SIZE, STRIPE_BYTES)
        memory[(row * PORTS + port) * STRIPE_BYTES + place + lane] = byte
    return bytes(memory)


def beats_of(content: bytes) -> list[int]:
    """What the stream gives."""
    step = PORTS * SIZE
    return [int.from_bytes(content[n : n + step], "little") for n in range(0, len(content), step)]


async def prepare(dut, memory: bytes, pause: float = 0.0) -> list[AxiRamRead]:
    """A memory behind each port, all with the same bytes."""
    rams = []
    for port in range(PORTS):
        ram = AxiRamRead(AxiReadBus.from_prefix(dut, f"axi_{port}_"), dut.clk, dut.rst, size=MEMORY_BYTES)
        ram.write(0, memory)
        if pause:
            ram.ar_channel.set_pause_generator(stalls(10 + port, pause))
            ram.r_channel.set_pause_generator(stalls(20 + port, pause))
        rams.append(ram)
    await start(dut, abort=0, stream__valid=0, gather__valid=0, o_stream__ready=0, o_gather__ready=0,
                read_window=pages(CONFIG), write_window=pages(CONFIG),
                request__valid=0, data__valid=0, axi_0__awready=0, axi_0__wready=0, axi_0__bvalid=0)
    return rams


def command(address: int, beats: int) -> int:
    return address | beats << CONFIG.address_bits


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def stream_over_stripes(dut) -> None:
    """Regions that end inside, at, and many rows behind a stripe, while port 0 also serves random reads."""
    row = PORTS * STRIPE_BYTES // (PORTS * SIZE)  # beats of a row of stripes
    content = random.Random(1).randbytes(3 * PORTS * STRIPE_BYTES)
    memory = memory_of(content)
    await prepare(dut, memory, pause=0.2)
    beats = beats_of(content)
    streamed, gathered = Sink(dut, "o_stream", stalls(3, 0.2)), Sink(dut, "o_gather", stalls(4, 0.2))
    regions = [(0, 5), (0, row), (1, row + 1), (0, 2 * row + 7), (2, 3)]  # first row of stripes, beats
    cocotb.start_soon(send(dut, "stream", [command(PORTS * STRIPE_BYTES * r, n) for r, n in regions]))
    reads = [(SIZE * 3 * n, 1 + n % 5) for n in range(40)]
    cocotb.start_soon(send(dut, "gather", [command(*read) for read in reads], stalls(5, 0.6)))
    await streamed.wait(sum(n for _, n in regions), limit=200_000)
    await gathered.wait(sum(n for _, n in reads))
    await until(dut, dut.idle)
    await clocks(dut, 50)
    assert streamed.received == [beat for r, n in regions for beat in beats[r * row : r * row + n]]
    data = (1 << 8 * SIZE) - 1
    assert [word & data for word in gathered.received] == [
        int.from_bytes(memory[a + n * SIZE : a + (n + 1) * SIZE], "little") for a, count in reads for n in range(count)
    ]
    assert int(dut.read_error.value) == AxiError.NONE.value


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def full_rate(dut) -> None:
    """One beat of the stream per clock."""
    count = 4 * CONFIG.burst_beats
    content = random.Random(2).randbytes(count * PORTS * SIZE)
    await prepare(dut, memory_of(content))
    await send(dut, "stream", [command(0, count)])
    await clocks(dut, 2 * count)  # the FIFOs hold what fits
    dut.o_stream__ready.value = 1
    taken = 0
    for _ in range(count):
        await RisingEdge(dut.clk)
        taken += int(dut.o_stream__valid.value)
    assert taken >= count - 1


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def silent_port_is_named(dut) -> None:
    """The last port stops: a time-out, no beat of the others gets out alone, and after an abort the stream works."""
    content = random.Random(6).randbytes(64 * PORTS * SIZE)
    rams = await prepare(dut, memory_of(content))
    rams[-1].r_channel.set_pause_generator(repeat(True))
    streamed = Sink(dut, "o_stream")
    await send(dut, "stream", [command(0, 64)])
    for _ in range(CONFIG.timeout_cycles + 400):
        await RisingEdge(dut.clk)
    assert int(dut.read_error.value) == AxiError.TIMEOUT.value
    assert int(dut.error_port.value) == PORTS - 1
    assert not streamed.received
    dut.abort.value = 1
    await RisingEdge(dut.clk)
    dut.abort.value = 0
    rams[-1].r_channel.clear_pause_generator()
    rams[-1].r_channel.pause = False
    await until(dut, dut.idle)
    assert int(dut.read_error.value) == AxiError.NONE.value
    await send(dut, "stream", [command(0, 64)])
    await streamed.wait(64)
    assert streamed.received == beats_of(content)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def commands_while_ports_differ(dut) -> None:
    """Many short regions: the queue of the slow port is full while those of the others are not, and none is lost."""
    content = random.Random(7).randbytes(256 * PORTS * SIZE)
    rams = await prepare(dut, memory_of(content))
    rams[-1].r_channel.set_pause_generator(stalls(8, 0.8))
    streamed = Sink(dut, "o_stream")
    await send(dut, "stream", [command(0, 1 + n % 3) for n in range(60)])
    expected = [beat for n in range(60) for beat in beats_of(content)[: 1 + n % 3]]
    await streamed.wait(len(expected))
    await until(dut, dut.idle)
    await clocks(dut, 50)
    assert streamed.received == expected


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def response_that_nobody_asked_for(dut) -> None:
    """The last port has no random reads, so that data with their id is an error, and an abort ends it."""
    for port in range(PORTS):
        for pin in ("arready", "rvalid"):
            getattr(dut, f"axi_{port}__{pin}").value = 0
    await start(dut, abort=0, stream__valid=0, gather__valid=0, o_stream__ready=0, o_gather__ready=0,
                read_window=pages(CONFIG), write_window=pages(CONFIG),
                request__valid=0, data__valid=0, axi_0__awready=0, axi_0__wready=0, axi_0__bvalid=0)
    last = f"axi_{PORTS - 1}__"
    for pin, value in (("rid", 1), ("rresp", 0), ("rlast", 1), ("rvalid", 1)):
        getattr(dut, last + pin).value = value
    await RisingEdge(dut.clk)
    getattr(dut, f"{last}rvalid").value = 0
    await clocks(dut, 4)
    assert int(dut.read_error.value) == AxiError.UNEXPECTED.value
    assert int(dut.error_port.value) == PORTS - 1
    dut.abort.value = 1
    await RisingEdge(dut.clk)
    dut.abort.value = 0
    await until(dut, dut.idle)
    assert int(dut.read_error.value) == AxiError.NONE.value
