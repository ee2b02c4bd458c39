"""Inside the simulator: rows go through KvAppend into an AXI memory and come back as blocks, compared with the golden
cache byte for byte."""

import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiBus, AxiRam

from hw.contract.config import BLOCK_POSITIONS
from hw.contract.payloads import gather_request, kv_codes
from hw.memory.axi import AxiError
from hw.memory.kv_cache import kv_row
from sim.agents.stream import StreamDriver
from sim.bench import bench_config
from sim.golden.attention import KvHead, quantize_kv
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, encode, rnd
from tests.hw.memory.agents import stalls, until

CONFIG = bench_config()
BASE, MEMORY_BYTES = 0x3F00, 1 << 16
"""The blocks cross pages of 4 KB."""

SHORTEST, LONGEST = CONFIG.beat_bytes // CONFIG.kv_bytes, CONFIG.max_head_dim
PERIOD_NS = 10
LIMIT = {"timeout_time": 20_000 * PERIOD_NS, "timeout_unit": "ns"}
"""Of every test: 20,000 clocks."""


def bits(layout, **fields) -> int:
    return layout.const(fields).as_value().value


class Bench:
    """The cache with drivers at its streams, a memory that pauses, and a golden twin of all its bytes."""

    def __init__(self, dut, pause: float) -> None:
        self.dut = dut
        self.rows = StreamDriver(dut, "i_row", stall=pause, seed=1)
        self.codes = StreamDriver(dut, "i", stall=pause, seed=2)
        self.fetches = StreamDriver(dut, "i_command", seed=3)
        self.ram = AxiRam(AxiBus.from_prefix(dut, "axi_"), dut.clk, dut.rst, size=MEMORY_BYTES)
        content = np.random.default_rng(7).integers(0, 256, MEMORY_BYTES, dtype=np.uint8)
        self.ram.write(0, content.tobytes())  # what is not written must stay
        self.golden = content.copy()
        write, read = self.ram.write_if, self.ram.read_if
        channels = (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel)
        for seed, channel in enumerate(channels):
            channel.set_pause_generator(stalls(seed, pause))

    async def start(self) -> None:
        cocotb.start_soon(Clock(self.dut.clk, PERIOD_NS, unit="ns").start())
        self.dut.read__en.value = 0
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 3)
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)

    def area(self, head_dim: int, block: int) -> slice:
        """Where a block lies in memory."""
        size = CONFIG.kv_block_bytes(head_dim)
        return slice(BASE + block * size, BASE + (block + 1) * size)

    async def append(self, head_dim: int, rows, unit: float = 0.0) -> None:
        """Rows in this order, each as position, 0 for a key or 1 for a value, and its elements."""
        targets, words = [], []
        for position, kind, row in rows:
            block, place = divmod(position, BLOCK_POSITIONS)
            area = self.area(head_dim, block)
            golden = KvHead.view(CONFIG, self.golden[area], head_dim)
            codes, scale = quantize_kv(row, CONFIG.kv_bits, unit if kind and CONFIG.kv_bits == 16 else 0.0)
            (golden.keys, golden.values)[kind][0, place] = codes
            golden.scales[0, place, kind] = scale
            targets.append(bits(kv_row(CONFIG), block=area.start, place=place, value=kind,
                                row_bytes=head_dim * CONFIG.kv_bytes))
            parts = codes.reshape(-1, CONFIG.vector).tolist()
            words += [bits(kv_codes(CONFIG), codes=part, scale=int(encode(scale)), last=int(n == len(parts) - 1))
                      for n, part in enumerate(parts)]
        sending = cocotb.start_soon(self.rows.send(targets))
        await self.codes.send(words)
        await sending

    async def written(self) -> None:
        """Waits until memory has it all; nothing but the rows may have changed."""
        await until(self.dut, self.dut.written)
        content = np.frombuffer(self.ram.read(0, MEMORY_BYTES), dtype=np.uint8)
        wrong = np.flatnonzero(content != self.golden)
        assert not len(wrong), f"{len(wrong)} bytes differ, the first at {wrong[0]:#x}"
        for error in (self.dut.write_error, self.dut.read_error):
            assert int(error.value) == AxiError.NONE.value

    async def read_back(self, head_dim: int, block: int) -> None:
        """A block through the loader equals the golden one."""
        area = self.area(head_dim, block)
        beats = (area.stop - area.start) // CONFIG.beat_bytes
        await self.fetches.send([bits(gather_request(CONFIG), address=area.start, beats=beats)])
        await until(self.dut, self.dut.loaded)
        content = []
        for n in range(beats + 1):  # the data of an address comes a clock later
            self.dut.read__en.value, self.dut.read__addr.value = 1, min(n, beats - 1)
            await RisingEdge(self.dut.clk)
            if n:
                content.append(int(self.dut.read__data.value))
        self.dut.read__en.value = 0
        expected = self.golden[area].tobytes()
        size = CONFIG.beat_bytes
        assert content == [int.from_bytes(expected[n : n + size], "little") for n in range(0, len(expected), size)]


async def started(dut, pause: float = 0.0) -> Bench:
    made = Bench(dut, pause)
    await made.start()
    return made


def normal(rng, head_dim: int):
    return rnd(rng.normal(size=head_dim))


@cocotb.test(**LIMIT)
async def edges_of_the_floats(dut) -> None:
    """Zeros, the largest and the least floats, one element beside zeros: as keys and as values."""
    bench = await started(dut)
    rows = [np.full(SHORTEST, value) for value in (0.0, MAX_FLOAT, -MAX_FLOAT, MIN_FLOAT, 1.0)]
    for place in (0, SHORTEST - 1):
        rows.append(np.zeros(SHORTEST))
        rows[-1][place] = -3.0
    rows.append(np.where(np.arange(SHORTEST) % 2, MAX_FLOAT, -MAX_FLOAT))
    await bench.append(SHORTEST, [(position, kind, row) for position, row in enumerate(rows) for kind in (0, 1)])
    await bench.written()
    await bench.read_back(SHORTEST, 0)


@cocotb.test(**LIMIT)
async def first_and_last_places(dut) -> None:
    """Rows of every length at both ends of a block and in the next: nothing else changes."""
    bench = await started(dut)
    rng = np.random.default_rng(1)
    for head_dim in (SHORTEST, 3 * SHORTEST, LONGEST):
        for position in (0, 15, 16, 31):
            for kind in (1, 0):
                await bench.append(head_dim, [(position, kind, normal(rng, head_dim))])
                await bench.written()
        for block in (0, 1):
            await bench.read_back(head_dim, block)


@cocotb.test(**LIMIT)
async def values_in_units(dut) -> None:
    """Sums of the array times their factor: 16-bit codes of values are the sums themselves."""
    bench = await started(dut)
    rng = np.random.default_rng(2)
    factor = float(rnd(3e-4))
    rows = [(position, kind, rnd(rng.integers(-10000, 10000, LONGEST) * factor))
            for position in (3, 4) for kind in (0, 1)]
    await bench.append(LONGEST, rows, factor)
    await bench.written()
    await bench.read_back(LONGEST, 0)


@cocotb.test(**LIMIT)
async def a_row_is_overwritten(dut) -> None:
    """As when a sequence ends and another takes its place: the rows beside it stay."""
    bench = await started(dut)
    rng = np.random.default_rng(3)
    rows = [(position, kind, normal(rng, LONGEST)) for position in (6, 7, 8, 7) for kind in (0, 1)]
    await bench.append(LONGEST, rows)
    await bench.written()
    await bench.read_back(LONGEST, 0)


@cocotb.test(**LIMIT)
async def written_means_confirmed(dut) -> None:
    """`written` stays low as long as memory has not answered the last write."""
    bench = await started(dut)
    row = normal(np.random.default_rng(4), SHORTEST)
    assert dut.written.value == 1
    bench.ram.write_if.b_channel.clear_pause_generator()
    bench.ram.write_if.b_channel.pause = True
    await bench.append(SHORTEST, [(2, 0, row)])
    for _ in range(200):
        await RisingEdge(dut.clk)
        assert dut.written.value == 0
    bench.ram.write_if.b_channel.pause = False
    await bench.written()
    await bench.read_back(SHORTEST, 0)


@cocotb.test(**LIMIT)
@cocotb.parametrize(pause=[0.2, 0.6])
async def random_with_stalls(dut, pause: float) -> None:
    """Sequences of chunks; rows and memory stall. Each block is read as soon as its rows are in memory."""
    bench = await started(dut, pause)
    rng = np.random.default_rng(5)
    choose = random.Random(5)
    for head_dim in (SHORTEST, 2 * SHORTEST):
        position = choose.randint(0, 12)
        while position < 20:
            chunk = range(position, position + choose.randint(1, 4))
            await bench.append(head_dim, [(n, kind, normal(rng, head_dim)) for n in chunk for kind in (0, 1)])
            await bench.written()
            await bench.read_back(head_dim, chunk[-1] // BLOCK_POSITIONS)
            position = chunk.stop
