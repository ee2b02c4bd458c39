"""Inside the simulator: matrices through the array, compared with the golden model word for word."""

import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from hw.array.column import OUTPUT_BLOCKS, activation_write
from hw.array.systolic import SystolicArray, array_command
from hw.contract.config import ceil_div
from hw.contract.payloads import acc_word
from sim.agents.stream import StreamDriver, StreamMonitor
from sim.bench import bench_config
from sim.golden.array import bitlinear_sums
from sw.weights import pack_matrix

CONFIG = bench_config()


class Bench:
    """The array with a driver or monitor at every port."""

    def __init__(self, dut):
        self.dut = dut
        self.command = StreamDriver(dut, "i_command")
        self.weights = StreamDriver(dut, "i_weights", seed=1)
        self.output = StreamMonitor(dut, "o", seed=2)
        self.cycle = self.pulses = self.first_beat = self.last_beat = self.done = 0

    async def start(self):
        cocotb.start_soon(Clock(self.dut.clk, 10, unit="ns").start())
        self.dut.i_write_en.value = 0
        self.dut.rst.value = 1
        for _ in range(3):
            await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)
        cocotb.start_soon(self.output.run())
        cocotb.start_soon(self.count())

    async def count(self):
        """Number the clocks; note when beats are taken and `o_done` is high."""
        while True:
            await RisingEdge(self.dut.clk)
            self.cycle += 1
            if self.dut.i_weights__valid.value == 1 and self.dut.i_weights__ready.value == 1:
                self.first_beat = self.first_beat or self.cycle
                self.last_beat = self.cycle
            if self.dut.o_done.value == 1:
                self.pulses += 1
                self.done = self.cycle

    async def write_activations(self, activations):
        layout = activation_write(CONFIG)
        for column, vector in enumerate(activations):
            for address in range(ceil_div(len(vector), CONFIG.inputs)):
                values = vector[address * CONFIG.inputs : (address + 1) * CONFIG.inputs].tolist()
                values += [85] * (CONFIG.inputs - len(values))  # behind the end: anything, its weights are zero
                word = layout.const({"column": column, "address": address, "values": values})
                self.dut.i_write.value = word.as_value().value
                self.dut.i_write_en.value = 1
                await RisingEdge(self.dut.clk)
        self.dut.i_write_en.value = 0

    async def multiply(self, activations, trits, *, early=False):
        """One command, `early` with its beats offered before it. Every word is compared, and no more may come.

        Returns the cycles of the intake, and from its end to `o_done`.
        """
        (m, k), columns = trits.shape, len(activations)
        words, blocks = ceil_div(k, CONFIG.inputs), ceil_div(m, CONFIG.rows)
        packed = pack_matrix(CONFIG, trits)
        sums = bitlinear_sums(CONFIG, activations, packed, k, m)
        padded = np.zeros((columns, blocks * CONFIG.rows), dtype=np.int64)
        padded[:, :m] = sums
        per_block = CONFIG.rows // CONFIG.vector
        expected = [
            (column, index, padded[column, index * CONFIG.vector : (index + 1) * CONFIG.vector].tolist())
            for block in range(blocks) for column in range(columns)
            for index in range(block * per_block, (block + 1) * per_block)
        ]
        await self.write_activations(activations)
        self.output.received.clear()
        self.first_beat = self.pulses = 0
        command = array_command(CONFIG).const({"words": words, "blocks": blocks, "columns": columns})
        size = CONFIG.beat_bytes
        beats = [int.from_bytes(packed[n : n + size], "little") for n in range(0, len(packed), size)]
        sending = cocotb.start_soon(self.weights.send(beats)) if early else None
        for _ in range(5 if early else 0):
            await RisingEdge(self.dut.clk)
        await self.command.send([command.as_value().value])
        await (sending or self.weights.send(beats))
        await self.output.wait_for(len(expected))
        await self.output.expect_silence(60)
        layout = acc_word(CONFIG)
        received = []
        for bits in self.output.received:
            word = layout.from_bits(bits)
            received.append((word.column, word.index, [word.sums[n] for n in range(CONFIG.vector)]))
        for n, (got, wanted) in enumerate(zip(received, expected, strict=True)):
            assert got == wanted, f"word {n}: got {got}, expected {wanted}"
        assert self.pulses == 1, f"o_done came {self.pulses} times"
        return self.last_beat - self.first_beat + 1, self.done - self.last_beat


async def bench(dut):
    made = Bench(dut)
    await made.start()
    return made


def matrix(seed, m, k):
    return np.random.default_rng(seed).integers(-1, 2, (m, k), dtype=np.int8)


def vectors(seed, columns, k):
    return np.random.default_rng(seed).integers(-128, 128, (columns, k)).astype(np.int8)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def all_minus_one_at_the_limits(dut):
    array = await bench(dut)
    k = CONFIG.max_k
    for value in (-127, 127, -128):
        activations = np.full((CONFIG.columns, k), value, dtype=np.int8)
        if value == -128:  # never sent by the quantiser; a short vector still fits in the sums
            activations = activations[:, : CONFIG.inputs]
        await array.multiply(activations, np.full((CONFIG.rows, activations.shape[1]), -1, dtype=np.int8))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def all_zero(dut):
    array = await bench(dut)
    await array.multiply(vectors(1, CONFIG.columns, 100), np.zeros((2 * CONFIG.rows, 100), dtype=np.int8))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def k_not_a_multiple_of_kc(dut):
    array = await bench(dut)
    for k in (1, CONFIG.inputs - 1, CONFIG.inputs + 1):
        await array.multiply(vectors(k, CONFIG.columns, k), matrix(k, 3 * CONFIG.rows, k))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def m_not_a_multiple_of_r(dut):
    array = await bench(dut)
    for m in (1, CONFIG.rows + 1, 5 * CONFIG.rows - 1):
        await array.multiply(vectors(m, CONFIG.columns, 60), matrix(m, m, 60))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def longest_k_unstalled(dut):
    """K = max_k; the cycle count is the documented one, for every number of columns."""
    array = await bench(dut)
    k = CONFIG.max_k
    words = ceil_div(k, CONFIG.inputs)
    latency = SystolicArray(CONFIG).latency
    for columns in range(1, CONFIG.columns + 1):
        intake, drain = await array.multiply(vectors(7, columns, k), matrix(8, 6 * CONFIG.rows, k))
        dut._log.info("%d columns, %d words: intake %d, drain %d", columns, words, intake, drain)
        assert intake == words * 6, f"{columns} columns: {intake} cycles for {words * 6} beats"
        assert drain == latency(columns), f"{columns} columns: {drain} cycles after the last beat"


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def shortest_stall_free_row_block(dut):
    """From the documented number of words on the intake never waits; one word less and it does."""
    array = await bench(dut)
    for columns in range(1, CONFIG.columns + 1):
        words = SystolicArray(CONFIG).stall_free_words(columns)
        for n, free in ((words + 1, True), (words, True), (words - 1, False)):
            k = n * CONFIG.inputs
            intake, _ = await array.multiply(vectors(n, columns, k), matrix(n, 40 * CONFIG.rows, k))
            assert (intake == 40 * n) == free, f"{columns} columns, {n} words: {intake} cycles"


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def beats_before_the_command(dut):
    array = await bench(dut)
    for seed in range(3):
        await array.multiply(vectors(seed, CONFIG.columns, 70), matrix(seed, 9, 70), early=True)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def commands_back_to_back(dut):
    """The second command and its beats wait for the end of the first; the activations are the same."""
    array = await bench(dut)
    m, k = 4 * CONFIG.rows, 3 * CONFIG.inputs
    activations = vectors(3, CONFIG.columns, k)
    packed = [pack_matrix(CONFIG, matrix(seed, m, k)) for seed in range(3)]
    await array.write_activations(activations)
    command = array_command(CONFIG).const({"words": 3, "blocks": 4, "columns": CONFIG.columns}).as_value().value
    size = CONFIG.beat_bytes
    stream = b"".join(packed)
    cocotb.start_soon(array.command.send([command] * 3))
    await array.weights.send(int.from_bytes(stream[n : n + size], "little") for n in range(0, len(stream), size))
    per_block = CONFIG.rows // CONFIG.vector
    per_command = 4 * CONFIG.columns * per_block
    await array.output.wait_for(3 * per_command)
    await array.output.expect_silence(60)
    assert array.pulses == 3
    for n, bits in enumerate(array.output.received):
        word = acc_word(CONFIG).from_bits(bits)
        sums = bitlinear_sums(CONFIG, activations, packed[n // per_command], k, m)
        first = word.index * CONFIG.vector
        assert [word.sums[i] for i in range(CONFIG.vector)] == sums[word.column, first : first + CONFIG.vector].tolist()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def blocked_output(dut):
    """Nothing is taken from `o` for a long time: the intake stops in time, and no sum is lost."""
    array = await bench(dut)
    array.output.stall = 1.0
    m, k = 12 * CONFIG.rows, 2 * CONFIG.inputs
    running = cocotb.start_soon(array.multiply(vectors(5, CONFIG.columns, k), matrix(6, m, k)))
    for _ in range(300):
        await RisingEdge(dut.clk)
    # One block per credit; a block of a single word may have moved on to the output register.
    assert OUTPUT_BLOCKS * 2 <= array.weights.sent <= (OUTPUT_BLOCKS + 1) * 2
    assert array.weights.ready.value == 0
    array.output.stall = 0.0
    await running


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def random_with_stalls(dut):
    array = await bench(dut)
    for seed in range(12):
        choose = random.Random(seed)
        array.weights.stall, array.output.stall = choose.choice((0, 0.3, 0.8)), choose.choice((0, 0.3, 0.9))
        m, k, columns = choose.randint(1, 20), choose.randint(1, 150), choose.randint(1, CONFIG.columns)
        await array.multiply(vectors(seed, columns, k), matrix(seed, m, k))
