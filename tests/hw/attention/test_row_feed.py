"""RowFeed equals the golden rotation and codes, row by row, and keeps up with the scratchpad."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from hw.attention.interfaces import RowKind
from hw.attention.kv_quantize import KvQuantize
from hw.attention.query_quantize import QueryQuantize
from hw.attention.row_feed import RowFeed
from hw.contract.config import AccelConfig
from sim.golden.attention import quantize_kv, rope
from sim.golden.number import Array, encode, rnd
from tests.hw.attention.rows import query_codes
from tests.hw.steps import Run, Step, run_steps
from tests.hw.with_memories import WithMemories, load

SCALE = float(rnd(64**-0.5 * np.log2(np.e)))


def config_for(vector: int, kv_bits: int, max_head_dim: int, port_bits: int = 128) -> AccelConfig:
    """A small scratchpad; not every head_dim fills its last beat."""
    return AccelConfig(name="feed", port_bits=port_bits, rows=16, inputs=5 * port_bits // 128, vector=vector,
                       kv_bits=kv_bits, columns=2, query_rows=5, max_head_dim=max_head_dim, max_hidden=2 * max_head_dim,
                       max_intermediate=2 * max_head_dim)


WIDE = config_for(4, 8, 256)
CONFIGS = {
    "V = 1, kv8": (config_for(1, 8, 64), (8, 16, 64)),
    "V = 2, kv16": (config_for(2, 16, 128), (16, 96, 104, 128)),
    "V = 4, kv8": (WIDE, (16, 64, 104, 128, 256)),
    "V = 4, kv16": (config_for(4, 16, 104, 512), (8, 16, 96, 104)),
}
"""With the head_dim of the rows, which may differ from row to row."""


@dataclass
class Row:
    """A row of the scratchpad, and a command for it."""

    kind: RowKind
    column: int
    base: int
    elements: Array
    place: dict[str, int]


class Bench:
    """Angles, factors and rows of a configuration; rows are placed one behind the other."""

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        self.rng = rng = np.random.default_rng(config.vector + config.kv_bits)
        angles = rng.uniform(0, 7, size=(config.columns, config.max_head_dim // 2))
        angles[0] = 0  # a column whose rows stay as they are
        self.cos, self.sin = rnd(np.cos(angles)), rnd(np.sin(angles))
        self.factors = rnd(np.exp2(rng.uniform(-20, 20, config.columns)))
        self.used = [0] * config.columns  # words

    def elements(self, column: int, size: int) -> Array:
        """Multiples of the factor, codes that tie, or any sizes and zeros."""
        rng, style = self.rng, int(self.rng.integers(3))
        if style == 0:
            row = rng.integers(-9000, 9000, size) * self.factors[column]
        elif style == 1:
            row = (rng.integers(-127, 127, size) + 0.5) * 2.0 ** rng.integers(-9, 9)
            row[0] = 127 * 2.0 ** rng.integers(-9, 9)
        else:
            magnitudes = (0.0, 2.0**-126, 2.0**-121, 2.0**-112, 2.0**100, 2.0**125, *2.0 ** rng.integers(-20, 20, 6))
            row = rng.normal(size=size) * magnitudes[rng.integers(len(magnitudes))] * (rng.random(size) > 0.1)
        row[rng.random(size) < 0.1] = -0.0
        return rnd(row)

    def row(self, kind: RowKind, size: int) -> Row:
        """A row behind those before it, in the column with the most room."""
        column = int(np.argmin(self.used))
        place = {"row": int(self.rng.integers(self.config.query_rows)), "bank": int(self.rng.integers(2)),
                 "scale_bank": int(self.rng.integers(4))}
        base = self.used[column]
        self.used[column] += size // self.config.vector
        assert self.used[column] <= self.config.column_words, "the scratchpad is too small for so many rows"
        return Row(kind, column, base, self.elements(column, size), place)

    def padded_words(self, row: Row) -> int:
        return -(-len(row.elements) // self.config.kv_elements) * self.config.kv_elements // self.config.vector

    def command(self, row: Row) -> dict[str, Any]:
        return {"kind": row.kind, "column": row.column, "base": row.base, "padded_words": self.padded_words(row),
                "half_words": len(row.elements) // 2 // self.config.vector, **row.place}

    def expected(self, row: Row) -> list[dict[str, Any]]:
        """The words of the codes."""
        config, x, size = self.config, row.elements, len(row.elements)
        words = size // config.vector
        if row.kind == RowKind.VALUE:
            codes, scale = quantize_kv(x, config.kv_bits, float(self.factors[row.column]) * (config.kv_bits == 16))
        else:
            words = self.padded_words(row)
            x = rope(x, self.cos[row.column, :size // 2], self.sin[row.column, :size // 2])
            codes, scale = quantize_kv(x, config.kv_bits)
        scale = int(encode(scale))
        if row.kind == RowKind.QUERY:
            codes, scale = query_codes(x, SCALE)
        parts = np.pad(codes, (0, words * config.vector - size)).reshape(words, -1).tolist()
        place = row.place if row.kind == RowKind.QUERY else {}
        return [{"codes": part, "scale": scale, "last": int(index == words - 1), **place,
                 **({"index": index} if place else {})} for index, part in enumerate(parts)]

    def run(self, groups: Iterable[Sequence[Row]], stall: float = 0.0) -> Run:
        """Groups of rows, with a pause behind each that empties the unit; the codes are right."""
        config, groups = self.config, list(groups)
        rows = [row for group in groups for row in group]
        steps = load("read", (
            {"addr": row.column * config.column_words + row.base + word, "data": values}
            for row in rows for word, values in enumerate(encode(row.elements).reshape(-1, config.vector).tolist())))
        cos, sin = (encode(part).reshape(config.columns, -1, config.vector).tolist() for part in (self.cos, self.sin))
        steps += load("rope", (
            {"column": column, "word": word, "cos": cos[column][word], "sin": sin[column][word]}
            for column in range(config.columns) for word in range(len(cos[0]))))
        steps.append(Step(set={"softmax_scale": int(encode(SCALE)), "factors": encode(self.factors).tolist()}))
        for group in groups:
            steps += [Step(send={"i": [self.command(row) for row in group]}), Step(clocks=400)]
        run = run_steps(WithMemories(RowFeed(config)), steps, outputs=["o_query", "o_kv"], stall=stall, silence=200,
                        seed=1, simulator="verilator")
        for name, query in (("o_query", True), ("o_kv", False)):
            words = [word for row in rows if (row.kind == RowKind.QUERY) == query for word in self.expected(row)]
            assert run.received[name] == words, name
        return run


@pytest.mark.parametrize("name, stall", [
    ("V = 1, kv8", 0.5), ("V = 2, kv16", 0.0), ("V = 2, kv16", 0.5), ("V = 4, kv8", 0.5), ("V = 4, kv16", 0.0),
])
def test_rows(name: str, stall: float) -> None:
    config, sizes = CONFIGS[name]
    bench = Bench(config)
    rows = [bench.row(RowKind(int(bench.rng.integers(3))), sizes[n % len(sizes)]) for n in range(20)]
    assert {row.kind for row in rows} == set(RowKind)
    bench.run([rows], stall)


def test_clocks() -> None:
    """Rows follow each other without a gap; only the division bounds short keys and values, the buffer short queries.
    A decoded token of 5 KV heads and 20 query heads of 128 takes 30 rows of 32 clocks."""
    bench = Bench(WIDE)
    kinds = [(kind, size) for size in (16, 64, 128) for kind in RowKind]
    groups = [[bench.row(kind, 64)] for kind in RowKind] + [[bench.row(kind, size)] * 10 for kind, size in kinds]
    key, value, query = (bench.row(kind, 128) for kind in (RowKind.KEY, RowKind.VALUE, RowKind.QUERY))
    token = [key] * 5 + [value] * 5 + [query] * 20
    run = bench.run([*groups, token])
    ends = {name: iter(clock for clock, word in zip(run.clocks[name], run.received[name], strict=True) if word["last"])
            for name in ("o_query", "o_kv")}
    starts = iter(run.clocks["i"])

    def clocks_of(group: Sequence[Row]) -> tuple[int, list[int]]:
        """Clock of the first command, and of the last word of each row."""
        first, *_ = [next(starts) for _ in group]
        return first, [next(ends["o_query" if row.kind == RowKind.QUERY else "o_kv"]) for row in group]

    for kind, group in zip(RowKind, groups, strict=False):
        first, (last,) = clocks_of(group)
        assert last - first == 2 * 16 + (RowFeed.QUERY_LATENCY if kind == RowKind.QUERY else RowFeed.KV_LATENCY)
    for (kind, size), group in zip(kinds, groups[3:], strict=True):
        words = size // WIDE.vector
        row = [max(words, KvQuantize.ROW_CLOCKS)] if kind != RowKind.QUERY else [4, 4, 4, 6] if words == 4 else [words]
        assert np.diff(clocks_of(group)[1]).tolist() == (row * len(group))[:len(group) - 1], (kind, size)
    first, last = clocks_of(token)
    first_row, codes_later = 2 * 32 + RowFeed.KV_LATENCY, KvQuantize.LATENCY - QueryQuantize.LATENCY
    assert last[-1] - first == first_row + 29 * 32 - codes_later
