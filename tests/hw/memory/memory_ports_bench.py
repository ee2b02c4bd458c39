"""Bench of MemoryPorts, run inside the simulator by test_memory_ports.py."""

from __future__ import annotations

import random
from itertools import repeat

import cocotb
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiBus, AxiRam

from hw.contract.config import STRIPE_BYTES
from hw.memory.axi import AxiError
from sim.bench import bench_config
from tests.hw.memory.agents import Sink, clocks, pages, send, stalls, start, until

CONFIG = bench_config()
PORTS, SIZE = CONFIG.ports, CONFIG.beat_bytes
MEMORY_BYTES = 1 << 19
STRIDE = 0x10340 & -SIZE
"""From the cache on a port to that on the next."""


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


def idle_inputs() -> dict[str, int]:
    """No requests, and nothing is taken."""
    streams = ("stream", "gather", "kv", *(f"{kind}_{n}" for n in range(PORTS) for kind in ("request", "data")))
    return {
        **{f"{name}__valid": 0 for name in streams}, **{f"o_{name}__ready": 0 for name in ("stream", "gather", "kv")},
        "abort": 0, "kv_port_stride": STRIDE, "read_window": pages(CONFIG), "write_window": pages(CONFIG),
    }


async def prepare(dut, memory: bytes, pause: float = 0.0) -> list[AxiRam]:
    """A memory behind each port, all with the same bytes."""
    rams = []
    for port in range(PORTS):
        ram = AxiRam(AxiBus.from_prefix(dut, f"axi_{port}_"), dut.clk, dut.rst, size=MEMORY_BYTES)
        ram.write(0, memory)
        if pause:
            read, write = ram.read_if, ram.write_if
            channels = read.ar_channel, read.r_channel, write.aw_channel, write.w_channel, write.b_channel
            for n, channel in enumerate(channels):
                channel.set_pause_generator(stalls(10 * n + port, pause))
        rams.append(ram)
    await start(dut, **idle_inputs())
    await clocks(dut, PORTS)  # as `kv_port_stride` asks for
    return rams


def word(memory: bytes, address: int) -> int:
    """A beat of a port."""
    return int.from_bytes(memory[address : address + SIZE], "little")


def kv_beats(memory: bytes, requests: list[tuple[int, int]]) -> list[int]:
    """What the requests give: on each port the beats of its own part."""
    return [
        sum(word(memory, address + n * SIZE + port * STRIDE) << 8 * SIZE * port for port in range(PORTS))
        for address, beats in requests for n in range(beats)
    ]


def gathered_beats(memory: bytes, requests: list[tuple[int, int]]) -> list[int]:
    """What random reads of port 0 give."""
    return [word(memory, address + n * SIZE) | (n == beats - 1) << 8 * SIZE
            for address, beats in requests for n in range(beats)]


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
    assert gathered.received == gathered_beats(memory, reads)
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
async def three_clients_at_once(dut) -> None:
    """Keys and values from all ports, random reads of port 0 and the stream: each receives its own, in order."""
    choose = random.Random(11)
    content = choose.randbytes(200 * PORTS * SIZE)
    memory = memory_of(content)[: MEMORY_BYTES // 2] + choose.randbytes(MEMORY_BYTES // 2)
    await prepare(dut, memory, pause=0.2)
    cache = [(MEMORY_BYTES // 2 + SIZE * choose.randrange(1000), choose.choice((1, 2, 7, 90))) for _ in range(60)]
    reads = [(SIZE * choose.randrange(2000), choose.choice((1, 2, 3, 70))) for _ in range(60)]
    names = ("kv", "gather", "stream")
    sinks = [Sink(dut, f"o_{name}", stalls(seed, 0.2)) for seed, name in enumerate(names)]
    requests = [cache, reads, [(0, 200)]]
    for seed, (name, wanted) in enumerate(zip(names, requests, strict=True)):
        cocotb.start_soon(send(dut, name, [command(*request) for request in wanted], stalls(seed, 0.3)))
    for sink, wanted in zip(sinks, requests, strict=True):
        await sink.wait(sum(beats for _, beats in wanted))
    await until(dut, dut.idle)
    await clocks(dut, 50)
    assert [sink.received for sink in sinks] == [
        kv_beats(memory, cache), gathered_beats(memory, reads), beats_of(content)]
    assert int(dut.read_error.value) == AxiError.NONE.value


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def kv_at_full_rate(dut) -> None:
    """Requests of 90 beats each, one behind the other: a beat of every port per clock, in the order of the requests."""
    choose = random.Random(12)
    memory = choose.randbytes(MEMORY_BYTES)
    await prepare(dut, memory)
    requests = [(0x2000 + 90 * SIZE * n, 90) for n in range(12)]
    cocotb.start_soon(send(dut, "kv", [command(*request) for request in requests]))
    taken = Sink(dut, "o_kv")
    await taken.wait(1)
    total = sum(beats for _, beats in requests)
    waited = await taken.wait(total)
    dut._log.info("%d beats in %d clocks", total - 1, waited)
    assert taken.received == kv_beats(memory, requests)
    assert waited <= total * 1.01 + 2


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def abort_between_clients(dut) -> None:
    """After an abort in the middle of kv and random reads no old beat comes out, and each client has its own again."""
    memory = random.Random(13).randbytes(MEMORY_BYTES)
    await prepare(dut, memory, pause=0.2)
    cached, gathered = Sink(dut, "o_kv", stalls(1, 0.4)), Sink(dut, "o_gather", stalls(2, 0.4))
    requests = [(0x1000 * n + 5 * SIZE, 1 + 7 * n) for n in range(1, 9)]
    commands = [command(*request) for request in requests]
    for turn in range(12):
        sending = [cocotb.start_soon(send(dut, name, commands)) for name in ("kv", "gather")]
        await clocks(dut, 3 + 11 * turn)
        for task in sending:
            task.cancel()
        dut.kv__valid.value = dut.gather__valid.value = 0
        dut.abort.value = 1
        await RisingEdge(dut.clk)
        dut.abort.value = 0
        await RisingEdge(dut.clk)
        await until(dut, dut.idle)
        await clocks(dut, 2)
        cached.received.clear()
        gathered.received.clear()
        cocotb.start_soon(send(dut, "gather", commands[:4]))
        await send(dut, "kv", commands[4:])
        await cached.wait(sum(beats for _, beats in requests[4:]))
        await gathered.wait(sum(beats for _, beats in requests[:4]))
        await until(dut, dut.idle)
        assert cached.received == kv_beats(memory, requests[4:]), turn
        assert gathered.received == gathered_beats(memory, requests[:4]), turn


async def watch_write_idle(dut) -> None:
    """`write_idle` is 0 while any port owes the response to a burst."""
    owed = [0] * PORTS
    while True:
        await RisingEdge(dut.clk)
        assert not (int(dut.write_idle.value) and any(owed)), owed
        for port in range(PORTS):
            for channel, step in (("aw", 1), ("b", -1)):
                valid, ready = (getattr(dut, f"axi_{port}__{channel}{pin}") for pin in ("valid", "ready"))
                owed[port] += step * (int(valid.value) and int(ready.value))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def writes_of_every_port(dut) -> None:
    """Each port writes its own requests; `write_idle` waits for all of them."""
    choose = random.Random(14)
    before = choose.randbytes(MEMORY_BYTES)
    rams = await prepare(dut, before, pause=0.2)
    expected, sending = [bytearray(before) for _ in rams], []
    cocotb.start_soon(watch_write_idle(dut))
    for port in range(PORTS):
        at, requests, beats = 0x800, [], []
        for _ in range(12):
            count = choose.choice((1, 2, 40))
            requests.append(command(at, count))
            for n in range(count):
                lanes, strobe = choose.randbytes(SIZE), choose.getrandbits(SIZE)
                beats.append(int.from_bytes(lanes, "little") | strobe << 8 * SIZE)
                for lane in range(SIZE):
                    if strobe >> lane & 1:
                        expected[port][at + n * SIZE + lane] = lanes[lane]
            at += (count + choose.randrange(9)) * SIZE
        sending.append(cocotb.start_soon(send(dut, f"request_{port}", requests, stalls(port, 0.3))))
        sending.append(cocotb.start_soon(send(dut, f"data_{port}", beats, stalls(port, 0.3))))
    for task in sending:
        await task
    await until(dut, dut.write_idle)
    await clocks(dut, 50)
    assert int(dut.idle.value)
    assert int(dut.write_error.value) == AxiError.NONE.value
    for ram, wanted in zip(rams, expected, strict=True):
        assert ram.read(0, MEMORY_BYTES) == bytes(wanted)


async def write_outside(dut, port: int) -> None:
    """An error of this port."""
    dut.write_window.value = pages(CONFIG, 0, 0x4000)
    await send(dut, f"request_{port}", [command(0x4000, 1)])
    await clocks(dut, 10)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def port_of_an_error(dut) -> None:
    """The lowest port with a read error; without one, the lowest with a write error."""
    await prepare(dut, bytes(MEMORY_BYTES))
    for port in reversed(range(PORTS)):
        await write_outside(dut, port)
        errors = [int(signal.value) for signal in (dut.read_error, dut.write_error, dut.error_port)]
        assert errors == [AxiError.NONE.value, AxiError.RANGE.value, port]
        assert not int(dut.write_idle.value)
    dut.read_window.value = pages(CONFIG, 0, 0x8000)
    dut.kv_port_stride.value = 0x8000
    await clocks(dut, PORTS)
    await send(dut, "kv", [command(0, 1)])  # outside on all ports but port 0
    await clocks(dut, 10)
    errors = [int(signal.value) for signal in (dut.read_error, dut.write_error, dut.error_port)]
    assert errors == [AxiError.RANGE.value, AxiError.RANGE.value, 1]
    dut.abort.value = 1
    await RisingEdge(dut.clk)
    dut.abort.value = 0
    await until(dut, dut.idle)
    errors = [int(signal.value) for signal in (dut.read_error, dut.write_error, dut.error_port)]
    assert errors == [AxiError.NONE.value, AxiError.NONE.value, 0]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def silent_port_is_named(dut) -> None:
    """The last port stops: a time-out, no beat of the others gets out alone, and after an abort the stream works."""
    content = random.Random(6).randbytes(64 * PORTS * SIZE)
    rams = await prepare(dut, memory_of(content))
    rams[-1].read_if.r_channel.set_pause_generator(repeat(True))
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
    rams[-1].read_if.r_channel.clear_pause_generator()
    rams[-1].read_if.r_channel.pause = False
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
    rams[-1].read_if.r_channel.set_pause_generator(stalls(8, 0.8))
    streamed = Sink(dut, "o_stream")
    await send(dut, "stream", [command(0, 1 + n % 3) for n in range(60)])
    expected = [beat for n in range(60) for beat in beats_of(content)[: 1 + n % 3]]
    await streamed.wait(len(expected))
    await until(dut, dut.idle)
    await clocks(dut, 50)
    assert streamed.received == expected


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def response_that_nobody_asked_for(dut) -> None:
    """Data with the id of random reads while none is under way: an error, and an abort ends it."""
    for port in range(PORTS):
        for pin in ("arready", "rvalid", "awready", "wready", "bvalid"):
            getattr(dut, f"axi_{port}__{pin}").value = 0
    await start(dut, **idle_inputs())
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
