"""Bench of BlockRam behind a foreign AXI master, run inside the simulator by test_block_ram.py."""

from __future__ import annotations

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiBus, AxiMaster

from sim.bench import bench_parameters
from tests.hw.memory.agents import stalls

SIZE = bench_parameters()["size"]
WORD_BYTES = 8
OKAY, SLVERR = 0, 2


async def prepare(dut, pause: float = 0.0) -> AxiMaster:
    """A master, which pauses at random on every channel, and a reset."""
    master = AxiMaster(AxiBus.from_prefix(dut, "axi_"), dut.clk, dut.rst)
    if pause:
        channels = (
            master.write_if.aw_channel, master.write_if.w_channel, master.write_if.b_channel,
            master.read_if.ar_channel, master.read_if.r_channel,
        )
        for seed, channel in enumerate(channels):
            channel.set_pause_generator(stalls(seed, pause))
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    dut.rst.value = 1
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    await RisingEdge(dut.clk)
    return master


def watch(dut) -> dict[str, list[int]]:
    """Clocks in which something is taken, by channel, as they come."""
    taken: dict[str, list[int]] = {channel: [] for channel in ("ar", "r", "aw", "w", "b")}

    async def look() -> None:
        clock = 0
        while True:
            await RisingEdge(dut.clk)
            clock += 1
            for channel, clocks in taken.items():
                if all(int(getattr(dut, f"axi__{channel}{pin}").value) for pin in ("valid", "ready")):
                    clocks.append(clock)

    cocotb.start_soon(look())
    return taken


@cocotb.test(timeout_time=50, timeout_unit="ms")
@cocotb.parametrize(pause=[0.0, 0.4])
async def bytes_arrive(dut, pause: float) -> None:
    """All of it is written, then parts of it, from any byte to any byte, while other parts are read."""
    master = await prepare(dut, pause)
    choose = random.Random(7)
    expected = bytearray(choose.randbytes(SIZE))
    assert (await master.write(0, bytes(expected))).resp == OKAY
    for _ in range(12):
        tasks = []
        for area in range(0, SIZE, SIZE // 4):
            start = area + choose.randrange(SIZE // 8)
            count = choose.choice((1, 8, 9, choose.randrange(1, SIZE // 8)))
            if choose.random() < 0.5:
                data = choose.randbytes(count)
                tasks.append((cocotb.start_soon(master.write(start, data)), None))
                expected[start : start + count] = data
            else:
                tasks.append((cocotb.start_soon(master.read(start, count)), bytes(expected[start : start + count])))
        for task, content in tasks:
            answer = await task
            assert int(answer.resp) == OKAY
            assert content is None or answer.data == content
        assert (await master.read(0, SIZE)).data == bytes(expected)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def a_word_per_clock(dut) -> None:
    """Over many bursts, one behind the other."""
    master = await prepare(dut)
    clocks = watch(dut)["r"]
    await master.read(0, SIZE)
    assert len(clocks) == SIZE // WORD_BYTES
    assert clocks[-1] - clocks[0] == len(clocks) - 1


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def latencies(dut) -> None:
    """From AR to R 6 clocks; from word to word of a write 6, and 41 where spare bits are written."""
    master = await prepare(dut)
    taken = watch(dut)
    await master.read(0, WORD_BYTES)
    assert taken["r"][0] - taken["ar"][0] == 6
    spare = bench_parameters()["spare"]
    for start in (0, spare) if spare else (0,):
        taken["w"].clear()
        await master.write(start, bytes(3 * WORD_BYTES))
        first, second, third = taken["w"]
        assert second - first == third - second == (41 if start < spare else 6)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def writes_do_not_wait_for_reads(dut) -> None:
    """Nobody takes the words that were read; a write is answered all the same, and then all words come."""
    master = await prepare(dut)
    await master.write(0, bytes(range(256)))
    master.read_if.r_channel.pause = True
    read = cocotb.start_soon(master.read(0, 256))
    await ClockCycles(dut.clk, 100)
    await with_timeout(cocotb.start_soon(master.write(0, bytes(8))), 100, "us")
    master.read_if.r_channel.pause = False
    assert (await read).data[8:] == bytes(range(8, 256))


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def behind_the_end_there_is_nothing(dut) -> None:
    """Errors for a burst that leaves the memory, at any power of two behind it, and no byte inside changes."""
    master = await prepare(dut)
    content = random.Random(3).randbytes(SIZE)
    await master.write(0, content)
    beyond = [SIZE, *(1 << n for n in range(SIZE.bit_length(), len(dut.axi__araddr))), SIZE - WORD_BYTES]
    for address in beyond:
        assert (await master.read(address, 2 * WORD_BYTES)).resp == SLVERR
        inside = max(SIZE - address, 0)
        data = content[address : address + inside].ljust(2 * WORD_BYTES, b"\xa5")
        assert (await master.write(address, data)).resp == SLVERR
    answer = await master.read(0, SIZE)
    assert (answer.resp, answer.data) == (OKAY, content)
