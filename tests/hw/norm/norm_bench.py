"""Inside the simulator: vectors through statistics, scale and quantiser, compared with the golden norm bit for bit."""

import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

from hw.contract.config import ceil_div
from hw.contract.payloads import stream_beat, vector_word
from hw.norm.pack_activations import code_word
from hw.norm.quantize import Quantize, column_read, quantize_command
from hw.norm.scale import scale_result
from sim.agents.stream import StreamDriver, StreamMonitor
from sim.bench import bench_config
from sim.golden import norm
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, encode, exponent, rnd
from tests.hw.norm.test_norm_memory import beats
from tests.hw.norm.test_statistics import column_words, in_turn, one_after_the_other, shuffled
from tests.hw.norm.vectors import bf16, for_quantizer, random_vector
from tests.hw.with_memories import load_layout

CONFIG = bench_config()
COLUMNS, LONGEST = CONFIG.columns, CONFIG.max_k
EPS = float(rnd(1e-5))
PERIOD_NS = 10
LIMIT = {"timeout_time": 20_000 * PERIOD_NS, "timeout_unit": "ns"}
"""Of every test: 20,000 clocks."""


def bits(layout, fields) -> int:
    return layout.const(fields).as_value().value


class Bench:
    """The path with a driver or monitor at every stream and the scratchpad behind its read port."""

    def __init__(self, dut) -> None:
        self.dut = dut
        self.weights = StreamDriver(dut, "i_weights", seed=1)
        self.words = StreamDriver(dut, "i", seed=2)
        self.finish = StreamDriver(dut, "i_finish", seed=3)
        self.command = StreamDriver(dut, "i_command", seed=4)
        self.scales = StreamMonitor(dut, "o_scale", seed=5)
        self.codes = StreamMonitor(dut, "o", seed=6)

    async def start(self) -> None:
        cocotb.start_soon(Clock(self.dut.clk, PERIOD_NS, unit="ns").start())
        for name in ("start", "count", "per_n", "eps", "load_values_en"):
            getattr(self.dut, name).value = 0
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 3)
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)
        for monitor in (self.scales, self.codes):
            cocotb.start_soon(monitor.run())

    def stall(self, often: float) -> None:
        for end in (self.weights, self.words, self.finish, self.command, self.scales, self.codes):
            end.stall = often

    async def load_weights(self, g) -> None:
        self.dut.count.value = len(g)
        self.dut.start.value = 1
        await RisingEdge(self.dut.clk)
        self.dut.start.value = 0
        sending = cocotb.start_soon(self.weights.send(bits(stream_beat(CONFIG), beat) for beat in beats(CONFIG, g)))
        while self.dut.loaded.value != 1:
            await RisingEdge(self.dut.clk)
        await sending

    async def store(self, x, base: int) -> None:
        """The vectors into the scratchpad, from word `base` of their columns on."""
        layout = load_layout(column_read(CONFIG))
        for column, row in enumerate(x):
            for n, word in enumerate(for_quantizer(row, CONFIG)):
                self.dut.load_values.value = bits(layout, {"column": column, "addr": base + n, "data": word})
                self.dut.load_values_en.value = 1
                await RisingEdge(self.dut.clk)
        self.dut.load_values_en.value = 0

    async def scale(self, x, stats, order, seed: int) -> tuple[norm.Scale, dict]:
        """Statistics and scales of all columns, finished in random order; returns the golden ones and the results."""
        per_n = float(rnd(1 / x.shape[1]))
        self.dut.per_n.value, self.dut.eps.value = int(encode(per_n)), int(encode(EPS))
        expected = norm.scale(stats, per_n, EPS)
        await self.words.send(bits(vector_word(CONFIG), word) for word in order(column_words(CONFIG, x)))
        columns = random.Random(seed).sample(range(COLUMNS), COLUMNS)
        self.scales.received.clear()
        await self.finish.send(columns)
        await self.scales.wait_for(COLUMNS)
        results = {}
        for column, code in zip(columns, self.scales.received, strict=True):
            results[column] = result = scale_result(CONFIG).from_bits(code)
            for name in ("rstd", "top", "act_scale"):
                got, wanted = getattr(result, name), int(encode(getattr(expected, name)[column]))
                assert got == wanted, f"{name} of column {column}: got {got:#x}, expected {wanted:#x}"
        return expected, results

    async def quantize(self, column: int, base: int, codes, **how: int) -> None:
        """One column becomes codes; every word is compared, padding too, and no more may come."""
        count = ceil_div(len(codes), CONFIG.quantize_lanes)
        padded = np.zeros(count * CONFIG.quantize_lanes, dtype=np.int64)
        padded[: len(codes)] = codes
        self.codes.received.clear()
        defaults = {"top": 0, "inverse": 0, "shift": 0, "lm_head": 0}
        fields = {"column": column, "base": base, "words": count} | defaults | how
        await self.command.send([bits(quantize_command(CONFIG), fields)])
        await self.codes.wait_for(count)
        await self.codes.expect_silence(2 * Quantize.LATENCY)
        for n, code in enumerate(self.codes.received):
            word = code_word(CONFIG).from_bits(code)
            got = word.column, word.index, list(word.codes), word.last
            wanted = column, n, padded.reshape(count, -1)[n].tolist(), int(n == count - 1)
            assert got == wanted, f"got {got}, expected {wanted}"

    async def run(self, x, g, *, order=in_turn, base: int = 0, seed: int = 0) -> None:
        """A whole norm of a vector per column: weights, statistics, scales, int8 codes, 16-bit codes of the LM head."""
        stats = norm.statistics(x, g)
        await self.load_weights(g)
        await self.store(x, base)
        scales, results = await self.scale(x, stats, order, seed)
        codes = norm.quantize(x, g, scales.top)
        for_lm_head, _ = norm.quantize_lm_head(x, g, stats.absmax, scales.rstd)
        for column in range(COLUMNS):
            found = results[column]
            await self.quantize(column, base, codes[column], top=found.top, inverse=found.inverse)
            shift = 14 - int(exponent(stats.absmax[column]))
            await self.quantize(column, base, for_lm_head[column], shift=shift, lm_head=1)


async def started(dut) -> Bench:
    made = Bench(dut)
    await made.start()
    return made


def constant(value: float, length: int):
    return np.full((COLUMNS, length), value)


def one_of_many(value: float, length: int):
    """A single element is not 0."""
    x = np.zeros((COLUMNS, length))
    x[:, length // 2] = value
    return x


@cocotb.test(**LIMIT)
@cocotb.parametrize(value=[0.0, MAX_FLOAT, -MAX_FLOAT, MIN_FLOAT, 2.0**64, 2.0**-63, 1.0])
async def edges_of_the_floats(dut, value) -> None:
    """One value everywhere, or beside zeros: sums that saturate, squares that vanish, an absmax below the least."""
    bench = await started(dut)
    rng = np.random.default_rng(1)
    for length in (1, 21):
        for x in (constant(value, length), one_of_many(value, length)):
            await bench.run(rnd(x), bf16(1 + 0.3 * random_vector(rng, length)))


@cocotb.test(**LIMIT)
async def weights_at_their_edges(dut) -> None:
    """Weights that are 0 in every or in every other place, negative, or so large that products saturate."""
    bench = await started(dut)
    x = random_vector(np.random.default_rng(2), COLUMNS, 20)
    for g in (np.zeros(20), np.arange(20) % 2, np.full(20, -1.0), np.full(20, 2.0**127)):
        await bench.run(x, bf16(g))


@cocotb.test(**LIMIT)
async def ties(dut) -> None:
    """Quotients exactly between two codes go to the even one; just beside they do not."""
    bench = await started(dut)
    for halves in np.split(np.arange(-126.5, 127), 2):
        beside = rnd(halves * (1 + 2.0**-16))
        x = np.tile(np.concatenate([[127.0], halves, beside])[:LONGEST], (COLUMNS, 1))
        await bench.run(x, np.ones(x.shape[1]))


@cocotb.test(**LIMIT)
async def lengths(dut) -> None:
    """Below, at and beyond the sixteen partial sums, and the longest; one norm after the other."""
    bench = await started(dut)
    rng = np.random.default_rng(3)
    for length in (1, 2, 15, 16, 17, 37, LONGEST):
        await bench.run(random_vector(rng, COLUMNS, length, scale=2.0), bf16(1 + 0.2 * random_vector(rng, length)))


@cocotb.test(**LIMIT)
async def codes_without_a_stall(dut) -> None:
    """The first word leaves LATENCY clocks after the command is taken, then one in every clock."""
    bench = await started(dut)
    rng = np.random.default_rng(4)
    await bench.run(random_vector(rng, COLUMNS, LONGEST), bf16(1 + 0.2 * random_vector(rng, LONGEST)))
    count = ceil_div(LONGEST, CONFIG.quantize_lanes)
    for n, taken in enumerate(bench.command.times):
        expected = [taken + (Quantize.LATENCY + word) * PERIOD_NS for word in range(count)]
        assert bench.codes.times[n * count : (n + 1) * count] == expected


@cocotb.test(**LIMIT)
async def blocked_codes(dut) -> None:
    """No code is taken for a long time: the pipeline stands still, and no word is lost."""
    bench = await started(dut)
    rng = np.random.default_rng(5)
    bench.codes.stall = 1.0
    running = cocotb.start_soon(bench.run(random_vector(rng, COLUMNS, 60), bf16(1 + 0.2 * random_vector(rng, 60))))
    await ClockCycles(dut.clk, 2000)
    assert bench.command.sent == 1
    assert not bench.codes.received
    bench.codes.stall = 0.0
    await running


@cocotb.test(**LIMIT)
async def random_with_stalls(dut) -> None:
    """Small and large vectors of random lengths, columns in any order, anywhere in the column."""
    bench = await started(dut)
    rng = np.random.default_rng(6)
    for seed in range(8):
        choose = random.Random(seed)
        bench.stall(choose.choice((0.1, 0.4, 0.7)))
        length = choose.randint(1, 60)
        x = random_vector(rng, COLUMNS, length, scale=10.0 ** choose.randint(-9, 9))
        x[0, 0] = rnd(x[0, 0] * 1e6)  # an outlier
        last_base = CONFIG.column_words - ceil_div(length, CONFIG.vector)
        await bench.run(x, bf16(1 + 0.5 * random_vector(rng, length)), seed=seed, base=choose.randint(0, last_base),
                        order=choose.choice((in_turn, one_after_the_other, shuffled)))
