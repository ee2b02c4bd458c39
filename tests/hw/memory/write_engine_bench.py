"""Bench of WriteEngine, run inside the simulator by test_write_engine.py."""

from __future__ import annotations

import random

import cocotb
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiRamWrite, AxiWriteBus

from hw.memory.axi import AxiError
from sim.bench import bench_config
from tests.hw.memory.agents import clocks, pages, send, stalls, start, until

CONFIG = bench_config()
BYTES = CONFIG.beat_bytes
MEMORY_BYTES = 1 << 16
ALL = (1 << BYTES) - 1


def request(address: int, beats: int) -> int:
    """Payload of a request."""
    return address | beats << CONFIG.address_bits


def beat(data: int, strobe: int = ALL) -> int:
    """Payload of a data beat."""
    return data | strobe << CONFIG.port_bits


async def prepare(dut, pause: float = 0.0) -> AxiRamWrite:
    """Reset, with a memory full of 0xEE that pauses at random."""
    ram = AxiRamWrite(AxiWriteBus.from_prefix(dut, "axi_"), dut.clk, dut.rst, size=MEMORY_BYTES)
    ram.write(0, b"\xee" * MEMORY_BYTES)
    if pause:
        for seed, channel in enumerate((ram.aw_channel, ram.w_channel, ram.b_channel)):
            channel.set_pause_generator(stalls(seed, pause))
    await start(dut, window=pages(CONFIG), abort=0, request__valid=0, data__valid=0)
    assert int(dut.axi__awvalid.value) == 0
    assert int(dut.axi__wvalid.value) == 0
    return ram


async def abort(dut) -> None:
    """One clock of abort, then wait for idle."""
    dut.abort.value = 1
    await RisingEdge(dut.clk)
    dut.abort.value = 0
    await RisingEdge(dut.clk)
    await until(dut, dut.idle)


async def check_bursts(dut) -> None:
    """Every AW stays inside 4 KB and the burst limit."""
    while True:
        await RisingEdge(dut.clk)
        if int(dut.axi__awvalid.value):
            address, beats = int(dut.axi__awaddr.value), int(dut.axi__awlen.value) + 1
            assert beats <= CONFIG.burst_beats
            assert address // 4096 == (address + beats * BYTES - 1) // 4096, "burst crosses 4 KB"


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(pause=[0.0, 0.4])
async def random_requests(dut, pause: float) -> None:
    """Random lengths across 4 KB with random strobes; every byte of memory is compared, written or not."""
    ram = await prepare(dut, pause)
    cocotb.start_soon(check_bursts(dut))
    generator = random.Random(31)
    expected = bytearray(b"\xee" * MEMORY_BYTES)
    requests, beats = [], []
    for _ in range(60):
        count = generator.choice((1, 2, 3, 17, generator.randint(1, 256)))
        address = 4096 * generator.randint(1, 10) + BYTES * generator.randint(-20, 20)
        requests.append(request(address, count))
        for n in range(count):
            data, strobe = generator.randbytes(BYTES), generator.choice((ALL, 0, generator.randint(0, ALL)))
            beats.append(beat(int.from_bytes(data, "little"), strobe))
            for lane in range(BYTES):
                if strobe >> lane & 1:
                    expected[address + n * BYTES + lane] = data[lane]
    cocotb.start_soon(send(dut, "request", requests, stalls(8, pause)))
    await send(dut, "data", beats, stalls(9, pause))
    await until(dut, dut.idle)
    assert ram.read(0, MEMORY_BYTES) == bytes(expected)
    assert int(dut.error.value) == AxiError.NONE.value


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def idle_means_confirmed(dut) -> None:
    """`idle` stays 0 as long as a B response is missing."""
    ram = await prepare(dut)
    count = min(4, CONFIG.burst_beats)
    ram.b_channel.pause = True
    await send(dut, "request", [request(0x1000, count)])
    await send(dut, "data", [beat(n) for n in range(count)])
    for _ in range(100):
        await RisingEdge(dut.clk)
        assert not int(dut.idle.value)
    ram.b_channel.pause = False
    await until(dut, dut.idle)
    assert ram.read(0x1000, count * BYTES) == b"".join(n.to_bytes(BYTES, "little") for n in range(count))


@cocotb.test(timeout_time=1, timeout_unit="ms", skip=CONFIG.outstanding * CONFIG.burst_beats < 32)
async def throughput(dut) -> None:
    """One beat per clock."""
    await prepare(dut)
    cocotb.start_soon(send(dut, "request", [request(0x800 * n, 512) for n in range(8)]))
    sender = cocotb.start_soon(send(dut, "data", [beat(n) for n in range(8 * 512)]))
    taken = 0
    while not sender.done():
        await RisingEdge(dut.clk)
        taken += 1
    dut._log.info("4096 beats in %d clocks", taken)
    assert taken <= 4096 * 1.02
    await until(dut, dut.idle)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def waiting_for_data_is_no_timeout(dut) -> None:
    """The client may let a burst wait for longer than the time-out."""
    ram = await prepare(dut)
    await send(dut, "request", [request(0x1000, 2)])
    await clocks(dut, 3 * CONFIG.timeout_cycles)
    await send(dut, "data", [beat(1), beat(2)])
    await until(dut, dut.idle)
    assert int(dut.error.value) == AxiError.NONE.value
    assert ram.read(0x1000, 1) == b"\x01"


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(channel=["aw_channel", "w_channel", "b_channel"])
async def no_answer(dut, channel: str) -> None:
    """A channel that is stuck is a time-out; after an abort the engine works again."""
    ram = await prepare(dut)
    getattr(ram, channel).pause = True
    count = min(8, CONFIG.burst_beats)  # after the error no second burst takes data
    cocotb.start_soon(send(dut, "request", [request(0x1000, count)]))
    cocotb.start_soon(send(dut, "data", [beat(n) for n in range(count)]))
    await until(dut, dut.error, AxiError.TIMEOUT.value)
    getattr(ram, channel).pause = False
    await clocks(dut, 100)
    assert int(dut.error.value) == AxiError.TIMEOUT.value
    await abort(dut)
    assert int(dut.error.value) == AxiError.NONE.value
    await send(dut, "request", [request(0x2000, 1)])
    await send(dut, "data", [beat(0x77)])
    await until(dut, dut.idle)
    assert ram.read(0x2000, 1) == b"\x77"


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def bad_responses(dut) -> None:
    """The memory refuses a write with SLVERR; after an abort it is written."""
    ram = await prepare(dut)
    original = ram._write

    async def refuse(address: int, data: bytes) -> None:
        raise ValueError(address)

    ram._write = refuse
    await send(dut, "request", [request(0x1000, 1)])
    await send(dut, "data", [beat(1)])
    while int(dut.error.value) == AxiError.NONE.value:
        assert not int(dut.idle.value)
        await RisingEdge(dut.clk)
    for _ in range(20):
        assert not int(dut.idle.value), "a write that was refused counts as written"
        await RisingEdge(dut.clk)
    assert int(dut.error.value) == AxiError.SLAVE.value
    ram._write = original
    await abort(dut)
    await send(dut, "request", [request(0x1000, 1)])
    await send(dut, "data", [beat(3)])
    await until(dut, dut.idle)
    assert ram.read(0x1000, 1) == b"\x03"


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def abort_inside_a_burst(dut) -> None:
    """The rest of the burst writes nothing, and the next request starts clean."""
    ram = await prepare(dut, 0.3)
    for sent in (0, 1, 5, 15):
        ram.write(0x3000, b"\xee" * 0x1000)
        await send(dut, "request", [request(0x3000, 16), request(0x3400, 200)])
        await send(dut, "data", [beat(n) for n in range(sent)])
        await abort(dut)
        assert ram.read(0x3000 + sent * BYTES, 0x800) == b"\xee" * 0x800
        await send(dut, "request", [request(0x3800, 3)])
        await send(dut, "data", [beat(n + 7) for n in range(3)])
        await until(dut, dut.idle)
        assert ram.read(0x3800, 3 * BYTES) == b"".join((n + 7).to_bytes(BYTES, "little") for n in range(3))


WINDOW = 0x4000, 0x6000
OUTSIDE = {
    "below": (WINDOW[0] - BYTES, 1), "behind": (WINDOW[1], 1), "across its end": (WINDOW[1] - BYTES, 3),
    "across its start": (WINDOW[0] - BYTES, 3), "far above": (1 << CONFIG.address_bits - 1 | WINDOW[0], 1),
}


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(case=list(OUTSIDE))
async def window(dut, case: str) -> None:
    """Nothing outside of the window is written, and after an abort what lies inside is."""
    ram = await prepare(dut)
    dut.window.value = pages(CONFIG, *WINDOW)
    address, beats = OUTSIDE[case]
    for turn in (1, 2):
        for good in (WINDOW[0], WINDOW[1] - BYTES):
            await send(dut, "request", [request(good, 1)])
            await send(dut, "data", [beat(turn)])
            await until(dut, dut.idle)
            assert ram.read(good, 1) == bytes([turn])
        sender = cocotb.start_soon(send(dut, "data", [beat(9)] * beats))
        await send(dut, "request", [request(address, beats)])
        await until(dut, dut.error, AxiError.RANGE.value)
        await clocks(dut, 50)
        assert int(dut.error.value) == AxiError.RANGE.value
        sender.cancel()
        dut.data__valid.value = 0
        await abort(dut)
        assert ram.read(0, WINDOW[0]) == b"\xee" * WINDOW[0]
        assert ram.read(WINDOW[1], 0x1000) == b"\xee" * 0x1000


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def response_with_a_foreign_id(dut) -> None:
    """It answers nothing that is owed: an error, and the abort goes on waiting for the right one."""
    await start(dut, window=pages(CONFIG), abort=0, request__valid=0, data__valid=0, axi__awready=1, axi__wready=1,
                axi__bvalid=0)
    await send(dut, "request", [request(0x1000, 1)])
    await send(dut, "data", [beat(1)])
    await clocks(dut, 20)
    for pin, value in (("bresp", 0), ("bid", 1), ("bvalid", 1)):
        getattr(dut, f"axi__{pin}").value = value
    await RisingEdge(dut.clk)
    dut.axi__bvalid.value = 0
    await until(dut, dut.error, AxiError.UNEXPECTED.value)
    dut.abort.value = 1
    await RisingEdge(dut.clk)
    dut.abort.value = 0
    await clocks(dut, 20)
    assert not int(dut.idle.value)
    dut.axi__bid.value = 0
    dut.axi__bvalid.value = 1
    await RisingEdge(dut.clk)
    dut.axi__bvalid.value = 0
    await until(dut, dut.idle)
    assert int(dut.error.value) == AxiError.NONE.value
