"""Quantize equals the golden codes, int8 and 16 bit, with stalls on both ends."""

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import memory, wiring

from hw.formats import column_values
from hw.norm.quantize import Quantize, quantize_command
from sim.golden import norm
from sim.golden.number import MIN_FLOAT, encode, exponent, rnd
from tests.hw.norm.bench import CONFIGS, bf16, chance, random_vector, receive, run, send, split

SEED = 5


def huge_outlier(rng: np.random.Generator, n: int) -> np.ndarray:
    x = random_vector(rng, n)
    x[n // 3] = rnd(-1e12)
    return x


ROWS = {
    "all_zero": lambda rng, n: np.zeros(n),
    "huge_outlier": huge_outlier,
    "tiny_values": lambda rng, n: random_vector(rng, n, scale=1e-9),
    "near_underflow": lambda rng, n: random_vector(rng, n, scale=MIN_FLOAT * 64),
    "equal_magnitudes": lambda rng, n: np.where(np.arange(n) % 2, 1.0, -1.0),
    "random": lambda rng, n: random_vector(rng, n, scale=30.0),
}
LENGTHS = {"single_word": 1, "not_a_multiple_of_16": 37, "long": 160}


class Bench(wiring.Component):
    """Quantize with both memories; every column of the scratchpad has room for its words plus `base`."""

    def __init__(self, config, x, g, base):
        self.config = config
        self.words = [split(row, config.vector) for row in x]
        self.depth = base + len(self.words[0])
        rows = [[[0x155_5555] * config.vector] * base + [encode(w).tolist() for w in words] for words in self.words]
        layout = column_values(config)
        self.values = memory.Memory(shape=layout, depth=self.depth * len(x), init=[w for row in rows for w in row])
        self.norm = memory.Memory(shape=layout, depth=config.norm_words,
                                  init=[encode(w).tolist() for w in split(g, config.vector)])
        self.unit = Quantize(config)
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit, m.submodules.values, m.submodules.norm = self.unit, self.values, self.norm
        values, weights = self.values.read_port(), self.norm.read_port()
        m.d.comb += [
            values.en.eq(self.unit.values.en),
            values.addr.eq(self.unit.values.column * self.depth + self.unit.values.addr),
            self.unit.values.data.eq(values.data),
            weights.en.eq(self.unit.norm.en),
            weights.addr.eq(self.unit.norm.addr),
            self.unit.norm.data.eq(weights.data),
        ]
        return m


def commands(config, x, g, head, base) -> tuple[list[dict], np.ndarray]:
    """One command per column and the codes they must give."""
    stats = norm.statistics(x, g)
    scale = norm.scale(stats, float(rnd(1 / x.shape[1])), float(rnd(1e-5)))
    codes = norm.quantize_head(x, g, stats.absmax, scale.rstd)[0] if head else norm.quantize(x, g, scale.inverse)
    words = -(-x.shape[1] // config.vector)
    return [
        {"column": column, "base": base, "words": words, "head": head,
         "inverse": int(encode(scale.inverse[column])), "shift": 14 - int(exponent(stats.absmax[column]))}
        for column in range(len(x))
    ], codes


def check(config, x, g, head, stall=0.0, base=0) -> None:
    requests, codes = commands(config, x, g, head, base)
    bench = Bench(config, x, g, base)
    dut = bench.unit
    wanted = []
    for column, row in enumerate(codes):
        words = split(row, config.vector)
        wanted += [(column, n, [int(c) for c in word], int(n == len(words) - 1)) for n, word in enumerate(words)]

    async def sender(ctx):
        await send(ctx, dut.i_command, requests, chance(SEED, stall))

    async def receiver(ctx):
        got = await receive(ctx, dut.o, lambda p: (p.column, p.index, list(p.codes), p.last), len(wanted),
                            chance(SEED + 1, stall))
        assert got == wanted

    run(bench, sender, receiver)


@pytest.mark.parametrize("head", [0, 1], ids=["int8", "head"])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("row", ROWS)
def test_named(row, length, head):
    config, rng, n = CONFIGS["pair"], np.random.default_rng(SEED), LENGTHS[length]
    x = np.array([ROWS[row](rng, n) for _ in range(config.columns)])
    check(config, x, bf16(random_vector(rng, n)), head)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("head", [0, 1], ids=["int8", "head"])
def test_random_with_stalls(name, head):
    config, rng = CONFIGS[name], np.random.default_rng(SEED)
    x = random_vector(rng, config.columns, 83, scale=3.0)
    check(config, x, bf16(1 + random_vector(rng, 83)), head, stall=0.4, base=7)


def test_tie_goes_to_even():
    config = CONFIGS["scalar"]
    x = np.array([[2.5, 3.5, -0.5, -1.5, 127.0]])
    requests, codes = commands(config, x, np.ones(5), 0, 0)
    assert requests[0]["inverse"] == encode(1.0)
    assert codes.tolist() == [[2, 4, 0, -2, 127]]
    check(config, x, np.ones(5), 0)


def test_latency():
    config = CONFIGS["pair"]
    bench = Bench(config, np.ones((config.columns, 40)), np.ones(40), 0)
    dut = bench.unit

    async def measure(ctx):
        ctx.set(dut.o.ready, 1)
        layout = {"column": 1, "base": 0, "words": 20, "head": 0, "inverse": int(encode(3.0)), "shift": 0}
        assert set(layout) == set(dict(quantize_command(config)))
        await send(ctx, dut.i_command, [layout])
        clocks = 1
        while not ctx.get(dut.o.valid):
            await ctx.tick()
            clocks += 1
        assert clocks == dut.LATENCY
        for word in range(20):
            assert ctx.get(dut.o.valid)
            assert ctx.get(dut.o.payload.index) == word
            assert not ctx.get(dut.i_command.ready)
            await ctx.tick()
        assert not ctx.get(dut.o.valid)
        assert ctx.get(dut.i_command.ready)

    run(bench, measure)
    assert Quantize.LATENCY == 9
