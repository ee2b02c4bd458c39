"""Bench of AxiWiden between foreign AXI agents, run inside the simulator by test_axi_widen.py."""

from __future__ import annotations

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from sim.bench import bench_config, bench_parameters
from tests.boards.memory.width_agents import clocks_of_transfers, move_bytes, prepare

CONFIG = bench_config()
RATIO = bench_parameters()["data_bits"] // CONFIG.port_bits
WORD_BYTES = RATIO * CONFIG.beat_bytes


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(pause=[0.0, 0.4])
async def bytes_arrive(dut, pause: float) -> None:
    """No byte changes, whatever the lengths and the pauses."""
    await move_bytes(*await prepare(dut, CONFIG, pause))


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def every_start_and_length(dut) -> None:
    """Bursts of every number of beats around two words, at every beat of a word; nothing beside them is touched."""
    master, ram = await prepare(dut, CONFIG, 0.2)
    choose = random.Random(3)
    for start in range(RATIO):
        for beats in range(1, 3 * RATIO + 1):
            before = choose.randbytes(8 * WORD_BYTES)
            ram.write(0, before)
            at, size = WORD_BYTES + start * CONFIG.beat_bytes, beats * CONFIG.beat_bytes
            answer = await master.read(at, size)
            assert answer.data == before[at : at + size]
            data = choose.randbytes(size)
            await master.write(at, data)
            assert ram.read(0, len(before)) == before[:at] + data + before[at + size :]


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(offset=[0, 1])
async def a_beat_per_clock(dut, offset: int) -> None:
    """Neither direction loses a clock inside a burst, and the memory sees every word once."""
    master, _ = await prepare(dut, CONFIG)
    beats = CONFIG.burst_beats - offset
    size = beats * CONFIG.beat_bytes

    async def act() -> None:
        await master.write(offset * CONFIG.beat_bytes, bytes(size))
        await master.read(offset * CONFIG.beat_bytes, size)

    for (port, channel), clocks in (await clocks_of_transfers(dut, act, "machine", "memory")).items():
        if port == "memory":
            assert len(clocks) == -(-(offset + beats) // RATIO)
        else:
            assert len(clocks) == beats
            assert clocks[-1] - clocks[0] == beats - 1, channel


async def ask(dut, beat: int, beats: int) -> None:
    """An address of a read, taken at once."""
    dut.machine__araddr.value, dut.machine__arlen.value = beat * CONFIG.beat_bytes, beats - 1
    dut.machine__arvalid.value = 1
    await RisingEdge(dut.clk)
    dut.machine__arvalid.value = 0
    await RisingEdge(dut.clk)


async def beats_of_words(dut, words: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The machine's (RRESP, RLAST) of the memory's, at most two bursts of beats more."""
    seen = []
    for resp, last in words:
        dut.memory__rvalid.value, dut.memory__rresp.value, dut.memory__rlast.value = 1, resp, last
        while True:
            await ReadOnly()
            assert int(dut.machine__rvalid.value)
            seen.append((int(dut.machine__rresp.value), int(dut.machine__rlast.value)))
            taken = int(dut.memory__rready.value)
            await RisingEdge(dut.clk)
            if taken:
                break
    dut.memory__rvalid.value = 0
    return seen


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def errors_and_wrong_ends_pass(dut) -> None:
    """The answer of a word is that of its beats; RLAST comes when the memory gives it, and the next burst is whole."""
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    for pin in ("machine__arvalid", "machine__awvalid", "machine__wvalid", "memory__rvalid", "memory__bvalid"):
        getattr(dut, pin).value = 0
    dut.machine__rready.value = dut.memory__arready.value = 1
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    for _ in range(2):
        await ask(dut, RATIO - 1, 2)  # the last beat of a word and the first of the next
        assert await beats_of_words(dut, [(2, 0), (0, 1)]) == [(2, 0), (0, 1)]
        await ask(dut, 0, 3 * RATIO)  # ends with its second word
        assert await beats_of_words(dut, [(0, 0), (3, 1)]) == [(0, 0)] * RATIO + [(3, 0)] * (RATIO - 1) + [(3, 1)]
        await ask(dut, 0, RATIO)  # ends a word late
        assert await beats_of_words(dut, [(0, 0), (0, 1)]) == [(0, 0)] * (2 * RATIO - 1) + [(0, 1)]
