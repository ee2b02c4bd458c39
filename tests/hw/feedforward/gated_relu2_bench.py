"""Inside the simulator: gate and up vectors through GatedRelu2, compared with the golden model word for word."""

import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

from hw.contract.config import ceil_div
from hw.contract.payloads import vector_word
from hw.feedforward.gated_relu2 import GatedRelu2
from hw.memory.scratchpad import scratchpad_read
from sim.agents.stream import StreamDriver, StreamMonitor
from sim.bench import bench_config
from sim.golden.feedforward import gated_relu2
from sim.golden.number import MAX_FLOAT, decode, encode, rnd
from tests.hw.float.vectors import random_pairs, special_pairs
from tests.hw.vectors import words
from tests.hw.with_memories import load_layout

CONFIG = bench_config()
PERIOD_NS = 10
LIMIT = {"timeout_time": 20_000 * PERIOD_NS, "timeout_unit": "ns"}
"""Of every test: 20,000 clocks."""

LENGTH = CONFIG.max_intermediate
LAST_BASE = CONFIG.column_words - ceil_div(LENGTH, CONFIG.vector)
"""Where a vector of that length ends with its column."""


class Bench:
    """The unit with a driver at `i`, a monitor at `o` and the scratchpad behind its read port."""

    def __init__(self, dut) -> None:
        self.dut = dut
        self.input = StreamDriver(dut, "i", seed=1)
        self.output = StreamMonitor(dut, "o", seed=2)

    async def start(self) -> None:
        cocotb.start_soon(Clock(self.dut.clk, PERIOD_NS, unit="ns").start())
        self.dut.load_read_en.value = 0
        self.dut.base.value = 0
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 3)
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)
        cocotb.start_soon(self.output.run())

    async def store(self, gate, base: int) -> None:
        """The gate of every column into the scratchpad, from word `base` of the column on."""
        layout = load_layout(scratchpad_read(CONFIG))
        for word in words(CONFIG, encode(gate), "values"):
            address = word["column"] * CONFIG.column_words + base + word["index"]
            self.dut.load_read.value = layout.const({"addr": address, "data": word["values"]}).as_value().value
            self.dut.load_read_en.value = 1
            await RisingEdge(self.dut.clk)
        self.dut.load_read_en.value = 0
        self.dut.base.value = base

    async def multiply(self, gate, up, base: int = 0, seed: int = 0) -> None:
        """A vector per column, its words in random order. Every word is compared, and no more may come."""
        short = -gate.shape[1] % CONFIG.vector
        gate, up = (np.pad(part, ((0, 0), (0, short))) for part in (gate, up))
        await self.store(gate, base)
        sent, expected = words(CONFIG, encode(up), "values"), words(CONFIG, encode(gated_relu2(gate, up)), "values")
        order = random.Random(seed).sample(range(len(sent)), len(sent))
        self.output.received.clear()
        await self.input.send([vector_word(CONFIG).const(sent[n]).as_value().value for n in order])
        await self.output.wait_for(len(order))
        await self.output.expect_silence(2 * GatedRelu2.LATENCY)
        for n, bits in zip(order, self.output.received, strict=True):
            word = vector_word(CONFIG).from_bits(bits)
            got = {"column": word.column, "index": word.index, "values": list(word.values)}
            assert got == expected[n], f"got {got}, expected {expected[n]}"


async def started(dut) -> Bench:
    made = Bench(dut)
    await made.start()
    return made


def normal(rng, length: int):
    """Values around 0, a vector per column; every tenth is 0."""
    shape = (CONFIG.columns, length)
    return rnd(rng.normal(size=shape) * (rng.random(shape) > 0.1))


@cocotb.test(**LIMIT)
async def every_special_gate_with_every_special_up(dut) -> None:
    """Zeros, least and largest floats, both signs, and those around each limit of rounding."""
    bench = await started(dut)
    gate, up = (decode(codes) for codes in special_pairs())
    chunk = CONFIG.columns * LENGTH
    short = -len(gate) % chunk
    gate, up = (np.pad(part, (0, short)).reshape(-1, CONFIG.columns, LENGTH) for part in (gate, up))
    for n, (some_gates, some_ups) in enumerate(zip(gate, up, strict=True)):
        await bench.multiply(some_gates, some_ups, n % (LAST_BASE + 1), seed=n)


@cocotb.test(**LIMIT)
async def zeros_and_largest_floats(dut) -> None:
    bench = await started(dut)
    for gate in (0.0, MAX_FLOAT, -MAX_FLOAT):
        for up in (0.0, MAX_FLOAT, -MAX_FLOAT):
            await bench.multiply(*(np.full((CONFIG.columns, LENGTH), value) for value in (gate, up)))


@cocotb.test(**LIMIT)
async def lengths_and_places(dut) -> None:
    """From one element to a whole vector, at the start of the column, in it and at its end."""
    bench = await started(dut)
    rng = np.random.default_rng(1)
    for length in (1, CONFIG.vector, CONFIG.vector + 1, LENGTH - 1, LENGTH):
        for base in (0, 5, CONFIG.column_words - ceil_div(length, CONFIG.vector)):
            await bench.multiply(normal(rng, length), normal(rng, length), base)


@cocotb.test(**LIMIT)
async def one_word_per_clock(dut) -> None:
    """Without stalls words enter in each clock, and leave LATENCY clocks later."""
    bench = await started(dut)
    rng = np.random.default_rng(2)
    await bench.multiply(normal(rng, LENGTH), normal(rng, LENGTH))
    first = bench.input.times[0]
    assert bench.input.times == [first + n * PERIOD_NS for n in range(len(bench.input.times))]
    assert bench.output.times == [time + GatedRelu2.LATENCY * PERIOD_NS for time in bench.input.times]


@cocotb.test(**LIMIT)
async def blocked_output(dut) -> None:
    """Nothing is taken from `o` for a long time: the pipeline fills and stops, and no word is lost."""
    bench = await started(dut)
    bench.output.stall = 1.0
    rng = np.random.default_rng(3)
    running = cocotb.start_soon(bench.multiply(normal(rng, LENGTH), normal(rng, LENGTH), LAST_BASE))
    await ClockCycles(dut.clk, CONFIG.columns * LENGTH + 100)
    assert bench.input.sent == GatedRelu2.LATENCY
    assert bench.input.ready.value == 0
    bench.output.stall = 0.0
    await running


@cocotb.test(**LIMIT)
async def random_with_stalls(dut) -> None:
    """Floats from the whole range and around 0, by turns; either end stalls seldom or often."""
    bench = await started(dut)
    rng = np.random.default_rng(4)
    for seed in range(12):
        choose = random.Random(seed)
        bench.input.stall, bench.output.stall = choose.choice((0, 0.3, 0.7)), choose.choice((0, 0.3, 0.8))
        length = choose.randint(1, LENGTH)
        gate, up = normal(rng, length), normal(rng, length)
        if seed % 2:
            gate, up = (decode(codes).reshape(CONFIG.columns, length)
                        for codes in random_pairs(seed, CONFIG.columns * length))
        await bench.multiply(gate, up, choose.randint(0, LAST_BASE), seed)
