"""Bench of RegisterFile, run inside the simulator by test_registers.py."""

from __future__ import annotations

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from hw.contract.register_map import (
    ADDRESS_BITS,
    CONSTANTS,
    COUNTERS,
    ID_MAGIC,
    ID_VERSION,
    REGISTERS,
    Register,
    find,
    values,
)
from sim.bench import bench_config

CONFIG = bench_config()
THERE = [r for r in REGISTERS if r.there(CONFIG)]
WRITABLE = [r for r in THERE if r.access == "rw"]
KNOWN = {r.address for r in THERE}
UNKNOWN = [a for a in range(0, 1 << ADDRESS_BITS, 4) if a not in KNOWN]


def mask(register: Register) -> int:
    """Bits that exist."""
    return sum(((1 << f.bits) - 1) << f.low for f in register.fields)


def stalls(seed: int, probability: float):
    """Endless random pauses."""
    generator = random.Random(seed)
    while True:
        yield generator.random() < probability


async def prepare(dut, seed: int = 0) -> AxiLiteMaster:
    """Clock, reset, inputs at 0 and a bus master; a seed makes every channel pause on its own."""
    master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "axi_"), dut.clk, dut.rst)
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    for name in values("r", CONFIG):
        value_port(dut, name).value = 0
    if seed:
        channels = [(master.write_if, c) for c in ("aw", "w", "b")] + [(master.read_if, c) for c in ("ar", "r")]
        for n, (half, channel) in enumerate(channels):
            getattr(half, f"{channel}_channel").set_pause_generator(stalls(10 * seed + n, 0.6))
    dut.rst.value = 1
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    await RisingEdge(dut.clk)
    return master


async def write(master: AxiLiteMaster, address: int, value: int, size: int = 4) -> AxiResp:
    """Write the lowest `size` bytes of a value; an address inside a word makes partial strobes."""
    return (await master.write(address, value.to_bytes(size, "little"))).resp


async def read(master: AxiLiteMaster, address: int) -> tuple[int, AxiResp]:
    """Value and response."""
    answer = await master.read(address, 4)
    return int.from_bytes(answer.data, "little"), answer.resp


def value_port(dut, name: str):
    """The input of an `r` value."""
    return getattr(dut, f"counters__{name}" if name in COUNTERS else f"status__{name}")


def port_values(dut) -> dict[str, int]:
    """The outputs of all `rw` values."""
    return {name: int(getattr(dut, f"job__{name}").value) for name in values("rw", CONFIG)}


def expected_ports(words: dict[str, int]) -> dict[str, int]:
    """The outputs that belong to the words of the registers."""
    expected = dict.fromkeys(values("rw", CONFIG), 0)
    for register in WRITABLE:
        for field in register.fields:
            expected[field.value] |= (words[register.name] >> field.low & (1 << field.bits) - 1) << field.value_low
    return expected


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(seed=[0, 1, 2, 3])
async def random_writes(dut, seed: int) -> None:
    """Whole and partial writes against a plain model; all registers and all outputs are compared."""
    master = await prepare(dut, seed)
    generator = random.Random(seed)
    words = dict.fromkeys((r.name for r in WRITABLE), 0)
    assert port_values(dut) == expected_ports(words)
    for _ in range(150):
        register = generator.choice(WRITABLE)
        size = generator.choice((1, 2, 3, 4))
        first = generator.randint(0, 4 - size)
        value = generator.getrandbits(8 * size)
        assert await write(master, register.address + first, value, size) == AxiResp.OKAY
        changed = ((1 << 8 * size) - 1) << 8 * first & mask(register)
        words[register.name] = words[register.name] & ~changed | value << 8 * first & changed
        assert port_values(dut) == expected_ports(words)
        other = generator.choice((register, generator.choice(WRITABLE)))
        assert await read(master, other.address) == (words[other.name], AxiResp.OKAY)
    for register in WRITABLE:
        assert await read(master, register.address) == (words[register.name], AxiResp.OKAY)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(seed=[0, 4])
async def concurrent_accesses(dut, seed: int) -> None:
    """Reads and writes are queued at once: every write arrives, every read returns its own register."""
    master = await prepare(dut, seed)
    generator = random.Random(seed)
    words = {r.name: generator.getrandbits(32) & mask(r) for r in WRITABLE}
    writes = [cocotb.start_soon(write(master, r.address, words[r.name])) for r in WRITABLE]
    reads = [cocotb.start_soon(read(master, find("ID").address + 8 * (n % 2))) for n in range(60)]
    for task in writes:
        assert await task == AxiResp.OKAY
    for n, task in enumerate(reads):
        assert (await task)[0] == (CONFIG.build_id & 0xFFFFFFFF if n % 2 else ID_MAGIC << 16 | ID_VERSION)
    assert port_values(dut) == expected_ports(words)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def constants(dut) -> None:
    """Magic, version and build id."""
    master = await prepare(dut)
    assert await read(master, find("ID").address) == (ID_MAGIC << 16 | ID_VERSION, AxiResp.OKAY)
    low, high = [(await read(master, find(f"BUILD_ID_{half}").address))[0] for half in ("LO", "HI")]
    assert high << 32 | low == CONFIG.build_id


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(seed=[0, 5])
async def read_only_values(dut, seed: int) -> None:
    """Every input is visible in its bits; writes to it are refused and change nothing."""
    master = await prepare(dut, seed)
    generator = random.Random(seed)
    given = {name: generator.getrandbits(bits) | 1 << bits - 1 for name, bits in values("r", CONFIG).items()}
    for name, value in given.items():
        value_port(dut, name).value = value
    for register in THERE:
        if register.access == "r" and register.fields[0].value not in CONSTANTS:
            word = sum((given[f.value] >> f.value_low & (1 << f.bits) - 1) << f.low for f in register.fields)
            assert await read(master, register.address) == (word, AxiResp.OKAY), register.name
            assert await write(master, register.address, ~word & 0xFFFFFFFF) == AxiResp.SLVERR, register.name
            assert await read(master, register.address) == (word, AxiResp.OKAY), register.name
    assert not any(port_values(dut).values())


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def upper_half_is_held(dut) -> None:
    """A carry between the two reads of a counter is not seen; nor is a token that comes after its count was read."""
    master = await prepare(dut)
    for name in COUNTERS:
        low, high = find(f"{name.upper()}_LO").address, find(f"{name.upper()}_HI").address
        counter = value_port(dut, name)
        counter.value = 0x1_FFFF_FFFF
        assert (await read(master, low))[0] == 0xFFFF_FFFF
        counter.value = 0x2_0000_0000
        assert (await read(master, high))[0] == 1
        assert (await read(master, low))[0] == 0
        assert (await read(master, high))[0] == 2
    dut.status__token_count.value, dut.status__last_token.value = 6, 77
    assert (await read(master, find("TOKEN_COUNT").address))[0] == 6
    dut.status__token_count.value, dut.status__last_token.value = 7, 88
    assert (await read(master, find("LAST_TOKEN").address))[0] == 77
    assert (await read(master, find("TOKEN_COUNT").address))[0] == 7
    assert (await read(master, find("LAST_TOKEN").address))[0] == 88


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(seed=[0, 6])
async def unknown_addresses(dut, seed: int) -> None:
    """They read 0, swallow writes, answer SLVERR and do not disturb their neighbours."""
    master = await prepare(dut, seed)
    words = {r.name: 0xA5A5A5A5 & mask(r) for r in WRITABLE}
    for register in WRITABLE:
        await write(master, register.address, words[register.name])
    for address in UNKNOWN[::7] + [a for a in UNKNOWN if a < 0x140]:
        assert await write(master, address, 0xFFFFFFFF) == AxiResp.SLVERR
        assert await read(master, address) == (0, AxiResp.SLVERR)
    assert port_values(dut) == expected_ports(words)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(seed=[0, 7])
async def pulses(dut, seed: int) -> None:
    """A pulse lasts one clock, needs its bit and its strobe, and reads 0."""
    master = await prepare(dut, seed)
    control = find("CONTROL")
    seen = {"start": 0, "abort": 0}

    async def count() -> None:
        while True:
            await RisingEdge(dut.clk)
            for name in seen:
                seen[name] += int(getattr(dut, name).value)

    cocotb.start_soon(count())
    expected = {"start": 0, "abort": 0}
    accesses = [
        (0, 4, 1), (0, 4, 2), (0, 4, 3), (0, 1, 1), (0, 4, 0), (0, 4, 0xFFFFFFFC), (1, 3, 0xFFFFFF), (0, 2, 2),
        (0, 4, 1), (0, 4, 1),
    ]
    for first, size, value in accesses:
        assert await write(master, control.address + first, value, size) == AxiResp.OKAY
        for _ in range(4):
            await RisingEdge(dut.clk)
        if first == 0:
            expected["start"] += value & 1
            expected["abort"] += value >> 1 & 1
        assert seen == expected, (first, size, value)
        assert await read(master, control.address) == (0, AxiResp.OKAY)
    assert not any(port_values(dut).values())
