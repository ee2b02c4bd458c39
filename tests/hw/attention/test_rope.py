"""Rope equals the golden rotation, code for code, at every vector width."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hw.attention.rope import Rope
from hw.contract.config import AccelConfig
from sim.golden.attention import rope
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, Array, encode, rnd
from tests.hw.norm.vectors import CONFIGS
from tests.hw.simulation import simulate

HALF = 32


def angles(rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
    angle = rng.uniform(-np.pi, np.pi, (rows, HALF))
    return rnd(np.cos(angle)), rnd(np.sin(angle))


def cases(rng: np.random.Generator) -> dict[str, tuple[Array, Array, Array]]:
    ones, zeros = np.ones((1, HALF)), np.zeros((1, HALF))
    x = rnd(rng.normal(size=(1, 2 * HALF)))
    x[0, :4] = MAX_FLOAT, -MAX_FLOAT, MIN_FLOAT, -0.0
    return {
        "unchanged": (x, ones, zeros),
        "quarter_turn": (x, zeros, ones),
        "all_zero": (0 * x, *angles(rng, 1)),
        "cancels": (np.ones((1, 2 * HALF)), ones, ones),
        "random": (rnd(rng.normal(size=(6, 2 * HALF)) * np.exp2(rng.integers(-12, 12, (6, 1)))), *angles(rng, 6)),
    }


def check(config: AccelConfig, parts: list[tuple[Array, Array, Array]], simulator: str = "pysim") -> None:
    """Lower and upper words in turn, one per clock; results LATENCY clocks later."""
    x, cos, sin = (np.concatenate(rows) for rows in zip(*parts, strict=True))
    low, high, cos_words, sin_words = (
        encode(part).reshape(-1, config.vector).tolist() for part in (x[:, :HALF], x[:, HALF:], cos, sin))
    dut: Any = Rope(config)
    found = []
    inputs = [(*((b, a) if upper else (a, b)), c, s, upper)
              for a, b, c, s in zip(low, high, cos_words, sin_words, strict=True) for upper in (0, 1)]

    async def bench(ctx: Any) -> None:
        for clock in range(len(inputs) + Rope.LATENCY):
            for name, value in zip(("a", "b", "cos", "sin", "upper"), inputs[min(clock, len(inputs) - 1)], strict=True):
                ctx.set(getattr(dut, name), value)
            if clock >= Rope.LATENCY:
                found.append([ctx.get(value) for value in dut.o])
            await ctx.tick()

    simulate(dut, bench, simulator=simulator)
    halves = [np.array(found[upper::2]).reshape(-1, HALF) for upper in (0, 1)]
    assert np.array_equal(np.concatenate(halves, axis=-1), encode(rope(x, cos, sin) + 0.0))


@pytest.mark.parametrize("config", ["scalar", "pair", "quad"])
def test_matches_golden(config: str) -> None:
    check(CONFIGS[config], list(cases(np.random.default_rng(3)).values()))


def test_verilated() -> None:
    check(CONFIGS["pair"], list(cases(np.random.default_rng(3)).values()), "verilator")
