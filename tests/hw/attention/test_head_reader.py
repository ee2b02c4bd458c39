"""Heads come out of the scratchpad word by word, rotated as in the golden model or untouched, row behind row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hw.attention.head_reader import HeadReader
from hw.attention.interfaces import RowKind
from hw.contract.config import PRESETS, AccelConfig
from sim.golden.attention import rope
from sim.golden.number import encode, rnd
from tests.hw.steps import Step, run_steps
from tests.hw.with_memories import WithMemories, load

SMALL = PRESETS["tiny"].replace(max_hidden=128, max_intermediate=128)
CONFIGS = {"V = 2": SMALL, "V = 1": SMALL.replace(vector=1), "V = 4": SMALL.replace(vector=4, rows=4, inputs=10)}
HEAD_DIM = 32
KINDS = (RowKind.KEY, RowKind.VALUE, RowKind.VALUE, RowKind.QUERY, RowKind.QUERY, RowKind.KEY)


def check(config: AccelConfig, stall: float, simulator: str = "pysim") -> None:
    rng = np.random.default_rng(31)
    half = HEAD_DIM // 2 // config.vector
    angles = rng.uniform(0, 7, size=(config.columns, HEAD_DIM // 2))
    cos, sin = rnd(np.cos(angles)), rnd(np.sin(angles))
    heads = [(kind, n % 2, 5 + n * 2 * half, rnd(rng.normal(size=HEAD_DIM))) for n, kind in enumerate(KINDS)]
    prepare = load("read", (
        {"addr": column * config.column_words + base + word, "data": values}
        for _, column, base, row in heads
        for word, values in enumerate(encode(row).reshape(2 * half, -1).tolist())
    ))
    turns = [encode(part).reshape(config.columns, half, -1).tolist() for part in (cos, sin)]
    prepare += load("rope", (
        {"column": column, "word": word, "cos": turns[0][column][word], "sin": turns[1][column][word]}
        for column in range(config.columns) for word in range(half)
    ))
    commands = [{"kind": kind, "column": column, "base": base, "half_words": half, "padded_words": 2 * half, "row": 0,
                 "bank": 0, "scale_bank": 0} for kind, column, base, _ in heads]
    run = run_steps(WithMemories(HeadReader(config)), [*prepare, Step(send={"i": commands})], outputs=[],
                    pulses={"o_en": "o"}, stall=stall, seed=31, simulator=simulator, silence=100)
    expected: list[dict[str, Any]] = []
    for kind, column, _, row in heads:
        rotated = kind != RowKind.VALUE
        words = encode(rope(row, cos[column], sin[column]) if rotated else row).reshape(2 * half, -1).tolist()
        order = [place for pair in range(half) for place in (pair, half + pair)] if rotated else range(2 * half)
        expected += [{"index": place, "values": words[place], "query": int(kind == RowKind.QUERY),
                      "last": int(place == 2 * half - 1)} for place in order]
    assert run.received["o_en"] == expected
    starts = [clock + 1 + HeadReader.LATENCY for clock in run.clocks["i"]]
    assert run.clocks["o_en"] == [start + n for start in starts for n in range(2 * half)]
    if not stall:
        assert np.diff(starts).tolist() == [2 * half] * (len(heads) - 1)


@pytest.mark.parametrize("stall", [0.0, 0.97])
@pytest.mark.parametrize("name", CONFIGS)
def test_heads(name: str, stall: float) -> None:
    check(CONFIGS[name], stall)


def test_verilated() -> None:
    for stall in (0.0, 0.97):
        check(SMALL, stall, "verilator")
