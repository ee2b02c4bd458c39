"""Rope equals the golden rotation, code for code, at every vector width and with stalls on both ends."""

import numpy as np
import pytest

from hw.attention.rope import Rope
from sim.golden.attention import rope
from sim.golden.number import encode, rnd
from tests.hw.norm.vectors import CONFIGS
from tests.hw.steps import run_stream

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


def check(config, parts, stall, simulator="pysim"):
    """Rows through the component; a word per clock without stalls, LATENCY clocks later."""
    x, cos, sin = (np.concatenate(rows) for rows in zip(*parts, strict=True))
    streams = [encode(part).reshape(-1, config.vector).tolist() for part in (x[:, :HALF], x[:, HALF:], cos, sin)]
    words = [dict(zip(("low", "high", "cos", "sin"), word, strict=True)) for word in zip(*streams, strict=True)]
    received, log = run_stream(Rope(config), {"i": words}, stall=stall, seed=1, simulator=simulator)
    low, high = (np.array([word[half] for word in received]).reshape(-1, HALF) for half in ("low", "high"))
    assert np.array_equal(np.concatenate([low, high], axis=-1), encode(rope(x, cos, sin)))
    if not stall:
        assert log["i"] == list(range(log["i"][0], log["i"][0] + len(words)))
        assert log["o"] == [clock + Rope.LATENCY for clock in log["i"]]


@pytest.mark.parametrize("config", ["scalar", "pair", "quad"])
@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("name", cases(np.random.default_rng(3)))
def test_matches_golden(name, config, stall):
    check(CONFIGS[config], [cases(np.random.default_rng(3))[name]], stall)


def test_verilated():
    for stall in (0.0, 0.4):
        check(CONFIGS["pair"], cases(np.random.default_rng(3)).values(), stall, "verilator")
