"""Bench of ReadEngine, run inside the simulator by test_read_engine.py."""

from __future__ import annotations

import random

import cocotb
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiRamRead, AxiReadBus

from hw.memory.axi import AxiError
from sim.bench import bench_config
from tests.hw.memory.agents import HostilePort, Sink, clocks, pages, send, stalls, start, until

CONFIG = bench_config()
BYTES = CONFIG.beat_bytes
MEMORY_BYTES = 1 << 16


def command(address: int, beats: int) -> int:
    """Payload of a command or request."""
    return address | beats << CONFIG.address_bits


def addresses(commands: list[tuple[int, int]]) -> list[int]:
    """What HostilePort answers to the stream client."""
    return [a + n * BYTES for a, beats in commands for n in range(beats)]


def gathered(commands: list[tuple[int, int]], data=lambda address: address) -> list[int]:
    """What the gather client receives: data with `last` above."""
    return [data(a + n * BYTES) | (n == beats - 1) << CONFIG.port_bits for a, beats in commands for n in range(beats)]


def random_commands(seed: int, count: int, longest: int) -> list[tuple[int, int]]:
    """Regions that like to lie across 4 KB; some are empty."""
    generator = random.Random(seed)
    commands = []
    for _ in range(count):
        address = 4096 * generator.randint(1, 7) + BYTES * generator.randint(-12, 12)
        commands.append((address, generator.choice((0, 1, 2, generator.randint(1, longest)))))
    return commands


async def prepare(dut) -> None:
    """Reset with quiet clients."""
    await start(dut, window=pages(CONFIG), abort=0, stream__valid=0, gather__valid=0, o_stream__ready=0,
                o_gather__ready=0)
    assert int(dut.axi__arvalid.value) == 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def random_regions_from_axi_ram(dut) -> None:
    """Both clients at once against an independent AXI model with pauses on every channel."""
    ram = AxiRamRead(AxiReadBus.from_prefix(dut, "axi_"), dut.clk, dut.rst, size=MEMORY_BYTES)
    content = random.Random(5).randbytes(MEMORY_BYTES)
    ram.write(0, content)
    ram.ar_channel.set_pause_generator(stalls(1, 0.3))
    ram.r_channel.set_pause_generator(stalls(2, 0.3))
    await prepare(dut)

    def word(address: int) -> int:
        return int.from_bytes(content[address : address + BYTES], "little")

    regions, requests = random_commands(11, 20, 300), random_commands(12, 60, 40)
    streamed = Sink(dut, "o_stream", stalls(3, 0.3))
    random_reads = Sink(dut, "o_gather", stalls(4, 0.3))
    cocotb.start_soon(send(dut, "stream", [command(*r) for r in regions], stalls(6, 0.2)))
    await send(dut, "gather", [command(*r) for r in requests], stalls(7, 0.5))
    await random_reads.wait(len(gathered(requests)))
    await streamed.wait(len(addresses(regions)))
    await until(dut, dut.idle)
    await clocks(dut, 50)
    assert random_reads.received == gathered(requests, word)
    assert streamed.received == [word(a) for a in addresses(regions)]
    assert int(dut.error.value) == AxiError.NONE.value


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def interleaved_responses(dut) -> None:
    """The two IDs come back beat by beat; no limit is exceeded."""
    await prepare(dut)
    port = HostilePort(dut, CONFIG, pause=0.2)
    regions, requests = random_commands(21, 20, 300), random_commands(22, 80, 60)
    streamed, random_reads = Sink(dut, "o_stream", stalls(3, 0.2)), Sink(dut, "o_gather", stalls(4, 0.6))
    cocotb.start_soon(send(dut, "stream", [command(*r) for r in regions]))
    await send(dut, "gather", [command(*r) for r in requests])
    await random_reads.wait(len(gathered(requests)))
    await streamed.wait(len(addresses(regions)))
    await until(dut, dut.idle)
    assert streamed.received == addresses(regions)
    assert random_reads.received == gathered(requests)
    assert port.most_in_flight == CONFIG.outstanding


@cocotb.test(timeout_time=1, timeout_unit="ms", skip=CONFIG.outstanding * CONFIG.burst_beats < 32)
async def throughput(dut) -> None:
    """One beat per clock over many regions, and the latency of the documentation."""
    await prepare(dut)
    HostilePort(dut, CONFIG)
    streamed = Sink(dut, "o_stream")
    await clocks(dut, 5)
    regions = [(0x1000 * n, 512) for n in range(1, 9)]
    cocotb.start_soon(send(dut, "stream", [command(*r) for r in regions]))
    first = await until(dut, dut.axi__arvalid)
    start_up = await streamed.wait(1)
    taken = await streamed.wait(8 * 512)
    dut._log.info("ARVALID after %d, first beat %d later, %d beats in %d clocks", first, start_up, 8 * 512 - 1, taken)
    assert first <= 6
    assert taken <= 8 * 512 * 1.01
    assert streamed.received == addresses(regions)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def prefetch_stops_at_reservation(dut) -> None:
    """With a held client exactly the FIFO is filled, across region ends; `idle` stays 0."""
    await prepare(dut)
    HostilePort(dut, CONFIG)
    streamed = Sink(dut, "o_stream")
    streamed.held = True
    regions = [(0x1000, 16)] * 12
    cocotb.start_soon(send(dut, "stream", [command(*r) for r in regions]))
    await clocks(dut, 400)
    assert int(dut.axi__rvalid.value) == 0
    assert int(dut.idle.value) == 0
    streamed.held = False
    taken = await streamed.wait(CONFIG.stream_fifo_beats)
    assert taken <= CONFIG.stream_fifo_beats + 4
    await streamed.wait(12 * 16)
    assert streamed.received == addresses(regions)


async def fail_and_recover(dut, error: AxiError, port: HostilePort, **fault: int) -> None:
    """Provoke an error, see it stick, abort, and read right data afterwards."""
    good = [(0x2000, 40)]
    streamed, random_reads = Sink(dut, "o_stream"), Sink(dut, "o_gather")
    await send(dut, "stream", [command(*r) for r in good])
    await streamed.wait(40)
    for name, value in fault.items():
        setattr(port, name, value)
    await send(dut, "stream", [command(0x3000, 200)])
    await send(dut, "gather", [command(0x4000, 9)])
    await until(dut, dut.error, error.value)
    for name in fault:
        setattr(port, name, 0)
    await clocks(dut, 400)
    assert int(dut.error.value) == error.value
    assert int(dut.idle.value) == 0
    await abort(dut)
    await clocks(dut, 5)
    streamed.received.clear()
    random_reads.received.clear()
    await send(dut, "stream", [command(*r) for r in good])
    await send(dut, "gather", [command(*r) for r in good])
    await streamed.wait(40)
    await random_reads.wait(40)
    await until(dut, dut.idle)
    assert streamed.received == addresses(good)
    assert random_reads.received == gathered(good)
    assert int(dut.error.value) == AxiError.NONE.value


async def abort(dut) -> None:
    """One clock of abort, then wait for idle."""
    dut.abort.value = 1
    await RisingEdge(dut.clk)
    dut.abort.value = 0
    await RisingEdge(dut.clk)
    await until(dut, dut.idle)


FAULTS = {
    "slave": (AxiError.SLAVE, {"response": 2}),
    "decode": (AxiError.DECODE, {"response": 3}),
    "last_early": (AxiError.LAST, {"last_error": -1}),
    "last_late": (AxiError.LAST, {"last_error": 1}),
    "no_answer": (AxiError.TIMEOUT, {"silent": 1}),
}


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(fault=list(FAULTS))
async def faults(dut, fault: str) -> None:
    """Every error is reported and can be recovered from."""
    if fault == "last_early" and CONFIG.burst_beats == 1:
        return  # RLAST cannot be earlier than the first beat
    await prepare(dut)
    error, setting = FAULTS[fault]
    await fail_and_recover(dut, error, HostilePort(dut, CONFIG, pause=0.1), **setting)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def abort_with_reads_outstanding(dut) -> None:
    """Aborted at 12 different moments, each time with new commands afterwards: no old beat comes out."""
    await prepare(dut)
    HostilePort(dut, CONFIG, pause=0.3)
    streamed, random_reads = Sink(dut, "o_stream", stalls(1, 0.5)), Sink(dut, "o_gather", stalls(2, 0.5))
    for turn in range(12):
        await send(dut, "stream", [command(0x10000, 500), command(0x20000, 500)])
        await send(dut, "gather", [command(0x30000, 100)])
        await clocks(dut, 1 + 9 * turn)
        await abort(dut)
        await clocks(dut, 2)
        streamed.received.clear()
        random_reads.received.clear()
        good = [(0x1000 * (turn + 1) - 5 * BYTES, 30)]
        await send(dut, "stream", [command(*r) for r in good])
        await send(dut, "gather", [command(*r) for r in good])
        await until(dut, dut.idle)
        await clocks(dut, 2)
        assert streamed.received == addresses(good), turn
        assert random_reads.received == gathered(good), turn


WINDOW = 0x4000, 0x6000
OUTSIDE = {
    "below": [(WINDOW[0] - BYTES, 1)], "behind": [(WINDOW[1], 2)], "across its end": [(WINDOW[1] - BYTES, 2)],
    "across its start": [(WINDOW[0] - BYTES, 2)], "far above": [(1 << CONFIG.address_bits - 1 | WINDOW[0], 1)],
    "after what is inside": [(WINDOW[0], 40), (WINDOW[1] + 4096, 1)],
}


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(case=list(OUTSIDE), port=["stream", "gather"])
async def window(dut, case: str, port: str) -> None:
    """No burst outside of the window is issued, one inside is; after an abort the window is as it was."""
    await prepare(dut)
    dut.window.value = pages(CONFIG, *WINDOW)
    HostilePort(dut, CONFIG, pause=0.1)
    streamed, random_reads = Sink(dut, "o_stream"), Sink(dut, "o_gather")

    async def look() -> None:
        while True:
            await RisingEdge(dut.clk)
            assert not int(dut.axi__arvalid.value) or WINDOW[0] <= int(dut.axi__araddr.value) < WINDOW[1]

    cocotb.start_soon(look())
    for _ in range(2):
        good = [(WINDOW[0], 30), (WINDOW[1] - 5 * BYTES, 5)]
        await send(dut, "stream", [command(*r) for r in good])
        await send(dut, "gather", [command(*r) for r in good])
        await until(dut, dut.idle)
        await clocks(dut, 2)
        assert streamed.received == addresses(good)
        assert random_reads.received == gathered(good)
        assert int(dut.error.value) == AxiError.NONE.value
        await send(dut, port, [command(*r) for r in OUTSIDE[case]])
        await until(dut, dut.error, AxiError.RANGE.value)
        await clocks(dut, 50)
        assert int(dut.error.value) == AxiError.RANGE.value
        await abort(dut)
        streamed.received.clear()
        random_reads.received.clear()
