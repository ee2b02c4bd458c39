"""Bench of the simulated memory with the pins of its port, run inside the simulator by test_axi_memory.py."""

from __future__ import annotations

import itertools
import random
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiBus, AxiMaster

from sim.bench import bench_config, bench_parameters
from sim.memory.top import memory_bytes

CONFIG = bench_config()
PARAMETERS = bench_parameters()
SEED, LATENCY = PARAMETERS.get("seed", 0), PARAMETERS.get("latency", 32)
BYTES = CONFIG.beat_bytes
SIZE = BYTES.bit_length() - 1
REQUEST = {"len": 0, "size": SIZE, "burst": 1, "id": 0}


async def prepare(dut) -> None:
    """Clock, inputs at 0, reset."""
    cocotb.start_soon(Clock(dut.aclk, 10, "ns").start())
    for pin in ("arvalid", "awvalid", "wvalid", "rready", "bready"):
        getattr(dut, f"s_axi_{pin}").value = 0
    dut.aresetn.value = 0
    for _ in range(3):
        await RisingEdge(dut.aclk)
    dut.aresetn.value = 1
    await RisingEdge(dut.aclk)


async def offer(dut, channel: str, **fields: int) -> None:
    """Drive AR, AW or W until it is taken."""
    for name, value in fields.items():
        getattr(dut, f"s_axi_{channel}{name}").value = value
    getattr(dut, f"s_axi_{channel}valid").value = 1
    await RisingEdge(dut.aclk)
    while not int(getattr(dut, f"s_axi_{channel}ready").value):
        await RisingEdge(dut.aclk)
    getattr(dut, f"s_axi_{channel}valid").value = 0


async def write(dut, address: int, value: int) -> None:
    """One beat, without waiting for the response."""
    await offer(dut, "aw", addr=address, **REQUEST)
    await offer(dut, "w", data=value, strb=(1 << BYTES) - 1, last=1)


class Watch:
    """Takes every read beat: (clock, id, data, last). `taken`: the clocks in which addresses were taken."""

    def __init__(self, dut) -> None:
        self.seen, self.taken = [], []
        self._dut = dut
        dut.s_axi_rready.value = 1
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        dut, clock = self._dut, 0
        while True:
            await RisingEdge(dut.aclk)
            clock += 1
            if int(dut.s_axi_arvalid.value) and int(dut.s_axi_arready.value):
                self.taken.append(clock)
            if int(dut.s_axi_rvalid.value) and int(dut.s_axi_rready.value):
                self.seen.append((clock, *(int(getattr(dut, f"s_axi_r{pin}").value) for pin in ("id", "data", "last"))))

    async def wait(self, count: int) -> None:
        """Until so many beats have come."""
        while len(self.seen) < count:
            await RisingEdge(self._dut.aclk)


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def foreign_master(dut) -> None:
    """Another implementation of AXI, many bursts at once, any address, size and length, against plain bytes."""
    master = AxiMaster(AxiBus.from_prefix(dut, "s_axi"), dut.aclk, dut.aresetn, reset_active_level=False)
    await prepare(dut)
    memory = memory_bytes(dut)
    expected = memory.copy()
    choose = random.Random(SEED)
    for _ in range(6):
        writes, reads = [], []
        for area in range(0, memory.size, memory.size // 8):
            start, count = area + choose.randrange(5000), choose.choice((1, 2, BYTES, choose.randrange(1, 9000)))
            data = choose.randbytes(count)
            expected[start : start + count] = np.frombuffer(data, dtype=np.uint8)
            writes.append(cocotb.start_soon(master.write(start, data, size=choose.randrange(SIZE + 1))))
        for task in writes:
            await task
        np.testing.assert_array_equal(memory, expected)
        for _ in range(8):
            count = choose.choice((1, 3, BYTES, choose.randrange(1, 9000)))
            start = choose.randrange(memory.size - count)
            size = choose.randrange(SIZE + 1)
            reads.append((start, count, cocotb.start_soon(master.read(start, count, size=size))))
        for start, count, task in reads:
            assert (await task).data == expected[start : start + count].tobytes()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def order_and_latency(dut) -> None:
    """Seed 0: latency as set, then a beat in every clock, in order. Else: pauses, ids mixed inside of bursts."""
    await prepare(dut)
    memory = memory_bytes(dut)
    memory[:] = np.random.default_rng(1).integers(0, 256, memory.size, dtype=np.uint8)
    bursts, beats = 10, 16
    answers = Watch(dut)
    for n in range(bursts):
        await offer(dut, "ar", **REQUEST | {"addr": n * beats * BYTES, "len": beats - 1, "id": n % 2})
    await answers.wait(bursts * beats)
    words = [int.from_bytes(memory[n : n + BYTES].tobytes(), "little") for n in range(0, bursts * beats * BYTES, BYTES)]
    for client in (0, 1):
        mine = [(data, last) for _, identity, data, last in answers.seen if identity == client]
        first = [n * beats for n in range(client, bursts, 2)]
        assert mine == [(words[n + k], k == beats - 1) for n in first for k in range(beats)]
    clocks = [clock for clock, *_ in answers.seen]
    order = [identity for _, identity, *_ in answers.seen]
    changes = sum(a != b for a, b in itertools.pairwise(order))
    if SEED == 0:
        assert clocks == [answers.taken[0] + LATENCY + n for n in range(bursts * beats)]
        assert changes == bursts - 1
    else:
        assert clocks[-1] - clocks[0] >= bursts * beats * 1.1
        assert changes > 2 * bursts


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def moment_of_effect(dut) -> None:
    """A read between the last beat of a write and its response: seed 1 always gives the old bytes, seed 3 the new."""
    await prepare(dut)
    memory, answers = memory_bytes(dut), Watch(dut)
    memory[:] = 0
    between = 0
    for n in range(1, 31):
        dut.s_axi_bready.value = 0
        await write(dut, n * BYTES, n)
        await offer(dut, "ar", **REQUEST, addr=n * BYTES)
        confirmed = int(dut.s_axi_bvalid.value)
        between += not confirmed
        await answers.wait(n)
        if SEED == 3 or confirmed:
            assert answers.seen[-1][2] == n
        elif SEED == 1:
            assert answers.seen[-1][2] == 0
        while not int(dut.s_axi_bvalid.value):
            await RisingEdge(dut.aclk)
        assert memory[n * BYTES] == n
        dut.s_axi_bready.value = 1
        await RisingEdge(dut.aclk)
    assert between > 10


async def break_rule(dut, rule: str) -> Any:
    """One violation."""
    full = {"strb": (1 << BYTES) - 1, "data": 0}
    if rule == "wrap":
        await offer(dut, "ar", **REQUEST | {"addr": 0, "burst": 2})
    elif rule == "boundary":
        await offer(dut, "aw", **REQUEST | {"addr": 4096 - BYTES, "len": 1})
    elif rule == "size":
        await offer(dut, "ar", **REQUEST | {"addr": 0, "size": SIZE + 1})
    elif rule == "last":
        await offer(dut, "aw", **REQUEST | {"addr": 0, "len": 3})
        await offer(dut, "w", **full, last=1)
    elif rule == "strobe":
        await offer(dut, "aw", **REQUEST | {"addr": 0, "size": 0})
        await offer(dut, "w", **full, last=1)
    elif rule == "change":
        dut.s_axi_arvalid.value = 1
        for address in range(0, 1000 * BYTES, BYTES):
            dut.s_axi_araddr.value = address
            await RisingEdge(dut.aclk)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def violation(dut) -> None:
    """The simulation has to end here."""
    await prepare(dut)
    for pin in ("addr", "len", "size", "burst", "id"):
        getattr(dut, f"s_axi_ar{pin}").value = REQUEST.get(pin, 0)
    dut.s_axi_rready.value = 1
    await break_rule(dut, PARAMETERS["rule"])
    for _ in range(100):
        await RisingEdge(dut.aclk)
