"""The split head on the dot products of attention: choices, and rows that they took, are those of the golden model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hw.contract.config import AccelConfig
from hw.contract.high_plane import guard
from sim.golden.logits import argmax, lm_head_logits
from sim.golden.number import rnd
from sim.golden.split_head import Choice
from tests.hw.logits.head_bench import Head
from tests.hw.logits.split_bench import Trial, check_split


def config(ports: int, port_bits: int, query_rows: int, columns: int, vector: int = 2, vocab: int = 300) -> AccelConfig:
    return AccelConfig(name="split", ports=ports, port_bits=port_bits, rows=4, inputs=5 * ports * port_bits // 32,
                       columns=columns, vector=vector, query_rows=query_rows, max_hidden=256, max_vocab=vocab,
                       max_head_dim=16, candidates=64)


CONFIGS = {
    "8 rows a beat": config(1, 64, 2, 2),
    "two ports": config(2, 64, 4, 3, vector=1),
    "one column": config(1, 128, 3, 1, vector=4),
    "four ports, sets of two columns": config(4, 64, 5, 8),
    "16 rows of operands": config(1, 64, 16, 1, vector=1),
}
SMALLEST = {
    ports: AccelConfig(name="smallest", ports=ports, rows=8 * ports, inputs=5, columns=1, query_rows=rows, vector=1,
                       max_hidden=1, max_intermediate=1, max_vocab=1, max_head_dim=16, candidates=64)
    for ports, rows in ((1, 16), (2, 2), (4, 3))
}


def random_head(random: np.random.Generator, m: int, k: int) -> Head:
    return Head(np.clip(np.rint(random.standard_normal((m, k)) * 34), -127, 127).astype(int),
                rnd(random.uniform(0.9e-2, 1e-2, m)))


def tilted(random: np.random.Generator, head: Head, row: int, by: float) -> np.ndarray:
    """Activations for which a row has a large logit."""
    y = random.standard_normal(head.rows.shape[1]) + by * head.rows[row] / 34
    return np.rint(y * 32767 / np.abs(y).max()).astype(int)


def some(*values: object) -> list[Any]:
    """Parameters that `make test-all` adds."""
    return [pytest.param(value, marks=pytest.mark.long) for value in values]


@pytest.mark.parametrize("ports", [1, *some(2, 4)])
def test_smallest_maxima(ports: int) -> None:
    """One row of one input, on a machine that has room for no more."""
    for code, seed in ((127, 1), (-127, 2), (0, 3)):
        head = Head(np.array([[code]]), np.array([0.5]), padding=0x55)
        found = check_split(SMALLEST[ports], head, np.array([seed]),
                            [Trial(np.array([a]), 2.0**-12, g) for a in (32767, -32767, 0) for g in (1, guard(8))])
        assert all(one.token in (0, None) for one in found)


@pytest.mark.parametrize(("name", "k"), [
    ("8 rows a beat", 24), ("four ports, sets of two columns", 250),
    *(pytest.param(name, k, marks=pytest.mark.long) for name in CONFIGS for k in (8, 128)),
])
def test_choices(name: str, k: int) -> None:
    """Winners that stand out, and choices among many rows, by which the list overflows or does not."""
    random = np.random.default_rng(k)
    k -= k % CONFIGS[name].quantize_lanes
    head = random_head(random, 200, k)
    trials = [Trial(tilted(random, head, row, by), 2.0**-12, guard(g))
              for row, by, g in ((7, 2.0, 8), (199, 0.6, 8), (64, 0.3, 2), (0, 0.0, 1), (100, 1.0, 0.05), (63, 0.0, 8))]
    choices = check_split(CONFIGS[name], head, random.integers(0, 17, k), trials, simulator="verilator")
    assert any(one.token is None for one in choices)
    for one, trial in zip(choices, trials, strict=True):
        if one.token is not None and trial.guard >= guard(8):
            assert one.token == argmax(lm_head_logits(trial.a16, trial.hs, head.rows, head.scales))


@pytest.mark.parametrize("m", [1, 65, *some(2, 3, 63, 64, 129)])
def test_rows_behind_the_vocabulary(m: int) -> None:
    """They are neither listed nor chosen, whatever they hold."""
    random = np.random.default_rng(m)
    head = random_head(random, m, 24)
    head.rows[:] = -np.abs(head.rows)
    head.padding = 0x3F
    check_split(CONFIGS["8 rows a beat"], head, random.integers(0, 17, 24),
                [Trial(np.full(24, 32767), 2.0**-12, guard(8))])


@pytest.mark.parametrize("rows", ["zeros", *some("equal"), "ties", *some("huge scale")])
def test_named(rows: str) -> None:
    """Rows of zeros, all logits equal, ties, a row with a huge scale; one activation that is an outlier, and none."""
    random, k = np.random.default_rng(1), 40
    dither = random.integers(0, 17, k)
    head = random_head(random, 64, k)
    outlier = np.zeros(k, dtype=int)
    outlier[5] = 32767
    activations = (tilted(random, head, 9, 3.0), outlier, np.zeros(k, dtype=int), -outlier)
    if rows == "zeros":
        head.rows[::3], head.scales[1::3] = 0, 0.0
    elif rows == "equal":
        head.rows[:], head.scales[:] = head.rows[0], 0.5
    elif rows == "ties":
        head.rows[[30, 9, 63]], head.scales[[30, 9, 63]] = head.rows[9], head.scales[9]
    else:
        head.scales[17] = 2.0**100
    trials = [Trial(a16, hs, guard(8)) for a16 in activations for hs in (2.0**-12, 0.0)]
    check_split(CONFIGS["8 rows a beat"], head, dither, trials)


def test_negative_scales() -> None:
    """No packer writes them. No row may be left then, and the choice fails."""
    random, k = np.random.default_rng(6), 24
    head = random_head(random, 65, k)
    head.scales[:] *= np.where(np.arange(65) % 3 == 1, -1, 1)
    head.scales[17] = -2.0**20
    trials = [Trial(tilted(random, head, row, by), 2.0**-12, guard(8)) for row, by in ((17, 0.0), (17, 2.0), (3, 1.0))]
    choices = check_split(CONFIGS["8 rows a beat"], head, random.integers(0, 17, k), [*trials, *trials])
    assert any(one == Choice(None, one.listed, 0) and one.listed < 64 for one in choices)


def test_a_list_that_is_full() -> None:
    """64 equal rows fit, 65 do not."""
    random, k = np.random.default_rng(2), 16
    for m, fits in ((64, True), (65, False)):
        head = Head(np.tile(random.integers(-127, 128, k), (m, 1)), np.full(m, 0.5))
        found = check_split(CONFIGS["8 rows a beat"], head, random.integers(0, 17, k),
                            [Trial(np.arange(k) * 100, 2.0**-12, guard(8))] * 2)
        assert [one.token for one in found] == [0 if fits else None] * 2


@pytest.mark.parametrize("name", ["two ports", *some("8 rows a beat", "one column", "four ports, sets of two columns")])
def test_slow_memory_and_stalls(name: str) -> None:
    random = np.random.default_rng(3)
    k = 48
    head = random_head(random, 150, k)
    trials = [Trial(tilted(random, head, row, 1.0), 2.0**-12, guard(3)) for row in (3, 70, 149)]
    check_split(CONFIGS[name], head, random.integers(0, 17, k), trials, stall=0.4, seed=5, gaps=4,
                simulator="verilator")
