"""Tokens drawn from shortlists: those drawn from the rows, or none."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from sim.golden.number import rnd
from sw.sampling import Sampler, Sampling
from sw.shortlist import Shortlist, log_sum_error
from tests.sw.test_shortlist import exact_log_sum, shortlist_of

TOP_K = (None, 1, 5, 40, 64, 65, 200)
TOP_P = (1.0, 0.1, 0.9, 0.999)
MIN_P = (0.0, 0.05, 0.5)
PENALTIES = ((0.0, 0.0), (1.5, 0.0), (0.0, 0.7), (-1.0, 0.0), (0.0, -0.5), (2.0, -0.6), (-2.0, 1.0))
VOCABS = (1, 7, 63, 64, 65, 66, 300, 1500)


def rows(random: np.random.Generator, vocab: int) -> list[NDArray[np.float32]]:
    """Peaked, flat, and with many equal logits: few values, all equal, and equal ones about the 64th place."""
    tied = np.sort(random.normal(0, 2, vocab))[::-1].copy()
    tied[50:80] = tied[min(60, vocab - 1)]
    found = [
        random.normal(0, 6, vocab), random.normal(0, 0.3, vocab), random.integers(-4, 5, vocab), np.zeros(vocab),
        random.permutation(tied), random.gumbel(0, 2, vocab) + 100,
    ]
    return [rnd(one).astype(np.float32) for one in found]


def state(sampler: Sampler) -> tuple[dict, Counter[int]]:
    return dict(sampler._random.bit_generator.state), sampler._drawn.copy()


def draw_both(listed: Sampler, whole: Sampler, row: NDArray[np.float32], shortlist: Shortlist) -> bool:
    """Whether the list gave a token; it is that of the row for each random number, and the samplers stay equal."""
    before, kept = state(listed), listed._kept_of_list(shortlist)
    if kept is not None:
        scores = row.astype(np.float64)
        for token, penalty in whole._penalties().items():
            scores[token] -= penalty
        for one, other in zip(kept, whole._kept(np.arange(len(row)), scores), strict=True):
            assert np.array_equal(one, other)
    token, expected = listed.draw_listed(shortlist), whole.draw(row)
    if token is None:
        assert state(listed) == before
        assert listed.draw(row) == expected
    else:
        assert token == expected
        assert type(token) is int
    assert state(listed) == state(whole)
    return token is not None


@pytest.mark.parametrize("vocab", VOCABS)
@pytest.mark.parametrize("penalties", PENALTIES)
def test_the_token_of_the_row(vocab: int, penalties: tuple[float, float]) -> None:
    """Of sequences on one row, so that penalties act on its largest logits; and the lists have an effect."""
    random, used, calls = np.random.default_rng(vocab), 0, 0
    temperatures = (0.05, 0.7, 1.0, 3.0)
    settings = [*itertools.product(TOP_K, TOP_P, MIN_P)]
    for number, row in enumerate(rows(random, vocab)):
        lists = {temperature: shortlist_of(row, temperature) for temperature in temperatures}
        for place, (top_k, top_p, min_p) in enumerate(settings):
            sampling = Sampling(
                temperature=temperatures[(number + place) % 4], top_k=top_k, top_p=top_p, min_p=min_p, seed=place,
                presence_penalty=penalties[0], frequency_penalty=penalties[1],
            )
            listed, whole = Sampler(sampling), Sampler(sampling)
            for _ in range(6):
                found = draw_both(listed, whole, row, lists[sampling.temperature])
                used, calls = used + found, calls + 1
                assert found or vocab > 64
                assert found or (top_k or 65) > 64 or penalties != (0, 0)
                assert not found or sampling.from_list or vocab <= 64 or top_k
    assert used > 0.3 * calls


@pytest.mark.parametrize("penalties", PENALTIES)
@pytest.mark.parametrize("seed", range(4))
def test_changing_rows(seed: int, penalties: tuple[float, float]) -> None:
    """Tokens that were drawn are beyond the later lists."""
    random = np.random.default_rng(seed)
    for _ in range(25):
        sampling = Sampling(
            temperature=float(10 ** random.uniform(-1, 0.5)), seed=seed, top_k=TOP_K[random.integers(7)],
            top_p=float(random.choice([*TOP_P, random.uniform(0.01, 1)])), min_p=float(random.choice(MIN_P)),
            presence_penalty=penalties[0], frequency_penalty=penalties[1],
        )
        listed, whole = Sampler(sampling), Sampler(sampling)
        vocab = int(random.choice([65, 80, 400]))
        for _ in range(12):
            row = rows(random, vocab)[random.integers(6)]
            draw_both(listed, whole, row, shortlist_of(row, sampling.temperature))


@pytest.mark.parametrize("penalties", [(0.0, 0.0), (0.4, 0.1), (-0.4, -0.1)])
@pytest.mark.parametrize(("top_k", "top_p", "min_p"), [
    (None, 0.9, 0.0), (None, 0.95, 0.0), (200, 0.9, 0.0), (None, 1.0, 0.05), (None, 0.9, 0.02), (None, 0.99999, 0.05),
])
def test_peaked_rows_seldom_need_the_row(
    top_k: int | None, top_p: float, min_p: float, penalties: tuple[float, float]
) -> None:
    """Of 20,000 tokens, where 64 have more than 0.99 of the mass."""
    random, found, count = np.random.default_rng(7), 0, 60
    sampling = Sampling(temperature=0.8, top_k=top_k, top_p=top_p, min_p=min_p, presence_penalty=penalties[0],
                        frequency_penalty=penalties[1])
    listed, whole = Sampler(sampling), Sampler(sampling)
    for _ in range(count):
        row = random.normal(0, 1, 20_000)
        row[random.integers(0, 20_000, 50)] += random.uniform(8, 16, 50)
        row = rnd(row).astype(np.float32)
        shortlist = shortlist_of(row, 0.8)
        assert shortlist.log_sum is not None
        assert np.exp(shortlist.logits.astype(float) / 0.8 - shortlist.log_sum).sum() > 0.99
        found += draw_both(listed, whole, row, shortlist)
    assert found > 0.9 * count


def test_the_edge_of_top_p_within_the_error_of_the_sum() -> None:
    """Shares that end exactly at a token, or so near that the sum cannot tell: the row decides."""
    row = rnd(np.linspace(0, -4, 1024)).astype(np.float32)
    row[:4] = [9, 8.5, 8.25, 8]
    shortlist = shortlist_of(row, 1.0)
    weights = np.exp(row.astype(np.float64) - 9)
    share = float(weights[:2].sum() / weights.sum())
    for change, expected in ((0.0, False), (1e-9, False), (-1e-9, False), (1e-5, True), (-1e-5, True)):
        for seed in range(20):
            sampling = Sampling(temperature=1.0, top_p=share + change, seed=seed)
            assert draw_both(Sampler(sampling), Sampler(sampling), row, shortlist) == expected
    for error in (-log_sum_error(1024), log_sum_error(1024)):
        off, found = replace(shortlist, log_sum=exact_log_sum(row, 1.0) + error), 0
        for change in np.linspace(-4e-6, 4e-6, 200).tolist():
            sampling = Sampling(temperature=1.0, top_p=share + change)
            found += draw_both(Sampler(sampling), Sampler(sampling), row, off)
        assert 50 < found < 190


@pytest.mark.parametrize("sampling", [
    Sampling(temperature=1e-320, top_p=0.9), Sampling(temperature=1e-320, top_k=3),
    Sampling(temperature=1e-9, min_p=0.1),
    Sampling(temperature=1e-9, top_p=0.9, presence_penalty=1.0, frequency_penalty=-2.0),
    Sampling(temperature=1e-3, top_p=0.9, presence_penalty=-2.0, frequency_penalty=2.0),
    Sampling(temperature=1e300, top_p=0.9), Sampling(temperature=1e300, top_k=40, top_p=0.9),
])
def test_extreme_temperatures(sampling: Sampling) -> None:
    random = np.random.default_rng(11)
    for row in (*rows(random, 300), *(one * np.float32(1e30) for one in rows(random, 300))):
        shortlist = shortlist_of(rnd(row), sampling.temperature)
        listed, whole = Sampler(sampling), Sampler(sampling)
        for _ in range(30):
            draw_both(listed, whole, row, shortlist)


def test_a_list_of_another_temperature() -> None:
    """Its sum is not used: top-p needs it, unless the list itself bounds the mass; top-k and min-p do not."""
    row = rnd(np.random.default_rng(1).normal(0, 1, 1000)).astype(np.float32)
    shortlist = shortlist_of(row, 1.0)
    assert Sampler(Sampling(temperature=0.8, top_p=0.2)).draw_listed(shortlist) is None
    assert Sampler(Sampling(temperature=0.8, top_p=0.2)).draw_listed(shortlist_of(row, 0.8)) is not None
    for sampling in (Sampling(temperature=0.8, top_k=64, top_p=0.5), Sampling(temperature=0.8, min_p=0.5)):
        assert draw_both(Sampler(sampling), Sampler(sampling), row, shortlist)
    row[3] = 60
    sampling = Sampling(temperature=0.8, top_p=0.5)
    assert draw_both(Sampler(sampling), Sampler(sampling), row, shortlist_of(row, 1.0))


def test_a_raised_token_beyond_the_list() -> None:
    """It may be above listed ones, which are then not certain; it is not if it was lowered."""
    row = rnd(np.linspace(0, -1, 100)).astype(np.float32)
    other = row.copy()
    other[99] = 9
    for penalty, expected in ((-0.5, False), (0.5, True)):
        sampling = Sampling(temperature=1.0, top_k=60, presence_penalty=penalty)
        listed, whole = Sampler(sampling), Sampler(sampling)
        while 99 not in whole._drawn:
            draw_both(listed, whole, other, shortlist_of(other, 1.0))
        listed._drawn, whole._drawn = Counter([99]), Counter([99])
        assert draw_both(listed, whole, row, shortlist_of(row, 1.0)) == expected


@pytest.mark.parametrize("penalty", [-2.0, 2.0])
def test_drawn_tokens_beyond_the_list_change_the_mass(penalty: float) -> None:
    row, found = rnd(np.linspace(0, -1, 200)).astype(np.float32), 0
    row[:10] = rnd(np.linspace(5, 4, 10))
    shortlist = shortlist_of(row, 1.0)
    for top_p in np.linspace(0.05, 0.95, 200).tolist():
        sampling = Sampling(temperature=1.0, top_p=top_p, presence_penalty=penalty)
        listed, whole = Sampler(sampling), Sampler(sampling)
        listed._drawn, whole._drawn = Counter(range(64, 84)), Counter(range(64, 84))
        found += draw_both(listed, whole, row, shortlist)
    assert 50 < found < 190


@pytest.mark.parametrize(("top_k", "top_p", "min_p", "expected"), [
    (None, 1.0, 0.0, False), (64, 1.0, 0.0, True), (65, 1.0, 0.0, False), (65, 0.9, 0.0, True), (None, 0.9, 0.0, True),
    (None, 1.0, 0.1, True),
])
def test_from_list(top_k: int | None, top_p: float, min_p: float, expected: bool) -> None:
    assert Sampling(temperature=1.0, top_k=top_k, top_p=top_p, min_p=min_p).from_list == expected


def test_a_power_does_not_depend_on_its_place() -> None:
    """NumPy computes several at a time: the weights of a list are the same floats as in the row."""
    values = -np.random.default_rng(2).exponential(20, 3000)
    whole = np.exp(values)
    assert all(np.exp(values[place : place + 1])[0] == whole[place] for place in range(3000))
    for start, step in ((1, 1), (3, 7), (5, 64)):
        assert (np.exp(values[start::step].copy()) == whole[start::step]).all()
