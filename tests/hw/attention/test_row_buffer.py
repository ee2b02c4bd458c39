"""Rows come out of RowBuffer in order and padded, with their maxima, in whatever order their words were written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hw.attention.interfaces import RowKind
from hw.attention.row_buffer import ROWS, RowBuffer
from sim.golden.number import encode, rnd
from tests.hw.attention.rows import largest_of, words_of
from tests.hw.norm.vectors import CONFIGS
from tests.hw.steps import Step, run_steps

KINDS = (RowKind.KEY, RowKind.QUERY, RowKind.VALUE, RowKind.QUERY, RowKind.KEY, RowKind.VALUE)


@pytest.mark.parametrize("stall", [0.0, 0.6])
@pytest.mark.parametrize("name", ["scalar", "pair", "quad"])
def test_rows(name: str, stall: float) -> None:
    config = CONFIGS[name]
    rng, steps, expected, largest = np.random.default_rng(8), [], [], []
    zeros = [0] * config.vector
    for n, kind in enumerate(KINDS * 2):
        size, padding = int(rng.choice([8, 24, 128])), int(rng.integers(3))
        row = rnd(rng.normal(size=size) * np.exp2(rng.integers(-100, 100))) * (n != 4)
        row[0], words = -0.0, size // config.vector
        padding = 0 if kind == RowKind.VALUE or size == 128 else padding
        place = {"row": n % config.query_rows, "bank": n % 2, "scale_bank": n % 3}
        command = {"kind": kind, "column": 0, "base": 0, "half_words": words // 2, "padded_words": words + padding}
        steps.append(Step(send={"i_row": [command | place]}))
        parts = encode(row).reshape(-1, config.vector).tolist()
        for count, index in enumerate(rng.permutation(words).tolist()):
            word: dict[str, Any] = {"index": index, "values": parts[index], "last": int(count == words - 1),
                                    "query": int(kind == RowKind.QUERY)}
            steps.append(Step(set={"i": word, "i_en": 1}))
        steps.append(Step(set={"i_en": 0}))
        out = words_of(row, config.vector, kind=kind.value, **place)
        out += [dict(out[-1], values=zeros, index=words + more) for more in range(padding)]
        expected += [dict(word, last=int(word is out[-1])) for word in out]
        if kind != RowKind.QUERY:
            largest.append(largest_of(row))
    run = run_steps(RowBuffer(config), steps, outputs=["o", "o_largest"], stall=stall, seed=2, silence=300)
    assert run.received == {"o": expected, "o_largest": largest}


def test_latency() -> None:
    """One word per clock behind the last of the row; no more commands than rows of memory are taken."""
    config = CONFIGS["pair"]
    command = {"kind": RowKind.KEY, "column": 0, "base": 0, "half_words": 4, "padded_words": 8, "row": 0, "bank": 0,
               "scale_bank": 0}
    words = [{"index": n, "values": [1, 1], "last": int(n == 7), "query": 0} for n in range(8)]
    steps = [Step(send={"i_row": [command]}), *(Step(set={"i": word, "i_en": 1}) for word in words)]
    run = run_steps(RowBuffer(config), [*steps, Step(set={"i_en": 0})], outputs=["o", "o_largest"], pulses={"i_en": ""})
    last = run.clocks["i_en"][-1]
    assert run.clocks["o"] == [last + RowBuffer.LATENCY + n for n in range(8)]
    assert run.clocks["o_largest"] == [last + RowBuffer.LATENCY - 1]
    full = run_steps(RowBuffer(config), [Step(send={"i_row": [command] * ROWS})], outputs=["o"], silence=30)
    assert len(full.clocks["i_row"]) == ROWS
    with pytest.raises(AssertionError, match="1 of 5 payloads were not taken"):
        run_steps(RowBuffer(config), [Step(send={"i_row": [command] * (ROWS + 1)})], outputs=["o"], silence=30)
