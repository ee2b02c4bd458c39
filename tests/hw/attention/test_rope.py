"""Rope equals the golden rotation, code for code, at every vector width and with stalls on both ends."""

import numpy as np
import pytest

from hw.attention.rope import Rope
from sim.golden.attention import rope
from sim.golden.number import encode, rnd
from tests.hw.norm.bench import CONFIGS, chance, receive, run, send

HALF = 32


def angles(rng, rows):
    angle = rng.uniform(-np.pi, np.pi, (rows, HALF))
    return rnd(np.cos(angle)), rnd(np.sin(angle))


def cases(rng):
    ones, zeros = np.ones((1, HALF)), np.zeros((1, HALF))
    x = rnd(rng.normal(size=(1, 2 * HALF)))
    return {
        "position_zero": (x, ones, zeros),
        "quarter_turn": (x, zeros, ones),
        "all_zero": (0 * x, *angles(rng, 1)),
        "cancels": (np.ones((1, 2 * HALF)), ones, ones),
        "random": (rnd(rng.normal(size=(6, 2 * HALF)) * np.exp2(rng.integers(-12, 12, (6, 1)))), *angles(rng, 6)),
    }


def rotate(config, x, cos, sin, stall):
    """Rows through the component; returns their codes and the clocks in which results came."""
    dut, lanes, got = Rope(config), config.vector, []
    streams = [encode(part).reshape(-1, lanes).tolist() for part in (x[:, :HALF], x[:, HALF:], cos, sin)]
    words = [dict(zip(("low", "high", "cos", "sin"), word, strict=True)) for word in zip(*streams, strict=True)]

    def read(payload):
        return [[payload[half][lane] for lane in range(lanes)] for half in ("low", "high")]

    async def sender(ctx):
        await send(ctx, dut.i, words, chance(1, stall))

    async def receiver(ctx):
        got.extend(await receive(ctx, dut.o, read, len(words), chance(2, stall)))

    run(dut, sender, receiver)
    low, high = np.array(got).transpose(1, 0, 2).reshape(2, -1, HALF)
    return np.concatenate([low, high], axis=-1)


@pytest.mark.parametrize("config", ["scalar", "pair", "quad"])
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_matches_golden(config, stall):
    for name, (x, cos, sin) in cases(np.random.default_rng(3)).items():
        assert np.array_equal(rotate(CONFIGS[config], x, cos, sin, stall), encode(rope(x, cos, sin))), name


def test_latency_and_throughput():
    dut, clocks = Rope(CONFIGS["pair"]), []

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.i.valid, 1)
        for clock in range(1, 30):
            await ctx.tick()
            ctx.set(dut.i.valid, clock < 10)
            if ctx.get(dut.o.valid):
                clocks.append(clock)

    run(dut, bench)
    assert clocks == list(range(Rope.LATENCY, Rope.LATENCY + 10))
