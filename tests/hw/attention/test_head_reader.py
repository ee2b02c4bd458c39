"""Heads come out of the scratchpad in order, rotated as in the golden model or untouched."""

from __future__ import annotations

import numpy as np
import pytest

from hw.attention.head_reader import HeadReader
from hw.attention.rope import Rope
from hw.contract.config import PRESETS, AccelConfig
from sim.golden.attention import rope
from sim.golden.number import encode, rnd
from tests.hw.steps import run_stream
from tests.hw.with_memories import WithMemories, load

SMALL = PRESETS["tiny"].replace(max_hidden=128, max_intermediate=128)
CONFIGS = {"V = 2": SMALL, "V = 1": SMALL.replace(vector=1), "V = 4": SMALL.replace(vector=4, rows=4, inputs=10)}
HEAD_DIM = 32


def check(config: AccelConfig, stall: float, simulator: str = "pysim") -> None:
    rng = np.random.default_rng(31)
    half = HEAD_DIM // 2 // config.vector
    angles = rng.uniform(0, 7, size=(config.columns, HEAD_DIM // 2))
    cos, sin = rnd(np.cos(angles)), rnd(np.sin(angles))
    heads = [(n % 2, 5 + n * 2 * half, int(n % 3 != 1), rnd(rng.normal(size=HEAD_DIM))) for n in range(6)]
    prepare = load("read", (
        {"addr": column * config.column_words + base + word, "data": values}
        for column, base, _, row in heads
        for word, values in enumerate(encode(row).reshape(2 * half, -1).tolist())
    ))
    turns = [encode(part).reshape(config.columns, half, -1).tolist() for part in (cos, sin)]
    prepare += load("rope", (
        {"column": column, "word": word, "cos": turns[0][column][word], "sin": turns[1][column][word]}
        for column in range(config.columns) for word in range(half)
    ))
    commands = [{"column": column, "base": base, "half_words": half, "rotate": rotate}
                for column, base, rotate, _ in heads]
    received, log = run_stream(WithMemories(HeadReader(config)), {"i": commands}, prepare=prepare, stall=stall, seed=31,
                               simulator=simulator)
    expected = []
    for column, _, rotate, row in heads:
        words = encode(rope(row, cos[column], sin[column]) if rotate else row).reshape(2 * half, -1).tolist()
        expected += [{"values": word, "last": int(n == 2 * half - 1)} for n, word in enumerate(words)]
    assert received == expected
    if not stall:
        ends = log["o"][2 * half - 1 :: 2 * half]
        clocks = [end - start for start, end in zip(log["i"], ends, strict=True)]
        assert clocks == [2 * half * (4 + (Rope.LATENCY - 1) * rotate) for _, _, rotate, _ in heads]


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("name", CONFIGS)
def test_heads(name: str, stall: float) -> None:
    check(CONFIGS[name], stall)


def test_verilated() -> None:
    for stall in (0.0, 0.5):
        check(SMALL, stall, "verilator")
