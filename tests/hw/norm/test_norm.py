"""The units of a norm in a row equal the golden norm: statistics, scale, codes and the words the array gets."""

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import Out

from hw.array.column import activation_write
from hw.contract.payloads import quantize_values
from hw.norm.norm_memory import NormMemory
from hw.norm.pack_activations import PackActivations
from hw.norm.quantize import Quantize
from hw.norm.scale import NormScale
from hw.norm.statistics import NormStatistics
from sim.bench import run_bench
from sim.golden import norm
from sim.golden.number import encode, rnd
from tests.hw.norm.norm_path import NormPath
from tests.hw.norm.test_norm_memory import beats
from tests.hw.norm.test_statistics import column_words, in_turn
from tests.hw.norm.vectors import CONFIGS, bf16, for_quantizer, random_vector, split
from tests.hw.simulation import send, simulate
from tests.hw.with_memories import WithMemories

EPS = float(rnd(1e-5))


class Norm(wiring.Component):
    """All units of the norm, and a scratchpad; the read port of the norm memory goes to whoever asks."""

    def __init__(self, config, x):
        self.config = config
        self.depth = len(for_quantizer(x[0], config))
        init = [word for row in x for word in for_quantizer(row, config)]
        self.scratchpad = memory.Memory(shape=quantize_values(config), depth=len(init), init=init)
        self.weights, self.statistics = NormMemory(config), NormStatistics(config)
        self.scale, self.quantize, self.pack = NormScale(config), Quantize(config), PackActivations(config)
        super().__init__({"o": Out(activation_write(config)), "o_en": Out(1), "o_done": Out(1)})

    def elaborate(self, platform):
        m = Module()
        parts = {"scratchpad": self.scratchpad, "weights": self.weights, "statistics": self.statistics,
                 "scale": self.scale, "quantize": self.quantize, "pack": self.pack}
        for name, part in parts.items():
            m.submodules[name] = part
        wiring.connect(m, self.quantize.o, self.pack.i)
        values = self.scratchpad.read_port()
        m.d.comb += [
            values.en.eq(self.quantize.values.en),
            values.addr.eq(self.quantize.values.column * self.depth + self.quantize.values.addr),
            self.quantize.values.data.eq(values.data),
            self.statistics.norm.data.eq(self.weights.read.data),
            self.quantize.norm.data.eq(self.weights.read.data),
            self.weights.read.en.eq(self.statistics.norm.en | self.quantize.norm.en),
            self.weights.read.addr.eq(self.quantize.norm.addr),
            self.o.eq(self.pack.o), self.o_en.eq(self.pack.o_en), self.o_done.eq(self.pack.o_done),
        ]
        with m.If(self.statistics.norm.en):
            m.d.comb += self.weights.read.addr.eq(self.statistics.norm.addr)
        return m


async def one(ctx, port):
    """The next payload of a stream."""
    ctx.set(port.ready, 1)
    (payload,) = await ctx.tick().sample(port.payload).until(port.valid)
    ctx.set(port.ready, 0)
    return payload


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("n", [1, 37, 160])
def test_matches_golden(name, n):
    config, rng = CONFIGS[name], np.random.default_rng(n)
    x, g = random_vector(rng, config.columns, n, scale=2.0), bf16(1 + 0.2 * random_vector(rng, n))
    x[0] = rnd(x[0] * 1e-8)
    stats = norm.statistics(x, g)
    per_n = float(rnd(1 / n))
    scales = norm.scale(stats, per_n, EPS)
    codes = norm.quantize(x, g, scales.top)
    dut, writes = Norm(config, x), []

    async def bench(ctx):
        ctx.set(dut.weights.count, n)
        ctx.set(dut.weights.start, 1)
        await ctx.tick()
        ctx.set(dut.weights.start, 0)
        await send(ctx, dut.weights.i, beats(config, g))
        await ctx.tick().repeat(2)
        await send(ctx, dut.statistics.i, in_turn(column_words(config, x)))
        for column in range(config.columns):
            await send(ctx, dut.statistics.i_finish, [column])
            found = await one(ctx, dut.statistics.o)
            await send(ctx, dut.scale.i, [{
                "square_sum": found.square_sum, "absmax": found.absmax,
                "per_n": int(encode(per_n)), "eps": int(encode(EPS)),
            }])
            scale = await one(ctx, dut.scale.o)
            assert scale.rstd == int(encode(scales.rstd[column]))
            assert scale.top == encode(scales.top[column])
            assert scale.act_scale == encode(scales.act_scale[column])
            await send(ctx, dut.quantize.i_command, [{
                "column": column, "base": 0, "words": -(-n // config.quantize_lanes), "top": scale.top,
                "inverse": scale.inverse, "shift": 0, "lm_head": 0,
            }])
            done = 0
            while not done:
                _, _, done, en, word = await ctx.tick().sample(dut.o_done, dut.o_en, dut.o)
                if en:
                    writes.append((word.column, word.address, list(word.values)))

    simulate(dut, bench)
    expected = [
        (column, address, [int(code) for code in word])
        for column, row in enumerate(codes)
        for address, word in enumerate(split(np.array(split(row, config.quantize_lanes)).ravel(), config.inputs))
    ]
    assert writes == expected


@pytest.mark.parametrize("name", ["scalar", "wide"])
def test_bench(name):
    """In cocotb, with agents that stall at every stream; the cases are in `norm_bench.py`."""
    config = CONFIGS[name]
    run_bench(WithMemories(NormPath(config)), config, "tests.hw.norm.norm_bench")
