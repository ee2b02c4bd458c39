"""The split head of section 7.2: its token is that of the whole head, its bounds hold, and where it gives up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from hw.contract.high_plane import ERROR_VARIANCE, STEP, guard, high_codes
from sim.golden.logits import argmax, lm_head_logits
from sim.golden.number import rnd
from sim.golden.split_head import Bounds, Choice, logit_bounds, reach, split_choice

GUARD = guard(8)
HS = 2.0**-14


@dataclass
class Head:
    """int8 rows, their scales, and the 16-bit codes of a column."""

    rows: NDArray[np.int8]
    scales: NDArray[np.float64]
    a16: NDArray[np.int64]
    seed: int = 0

    def __post_init__(self) -> None:
        self.dither = np.random.default_rng(self.seed).integers(0, STEP, self.rows.shape[1])
        self.scales = rnd(self.scales)

    @property
    def logits(self) -> NDArray[np.float64]:
        return lm_head_logits(self.a16, HS, self.rows, self.scales)

    def bounds(self, guarded: int = GUARD) -> Bounds:
        high = high_codes(self.rows, self.dither)
        return logit_bounds(self.a16, HS, high, STEP - self.dither, self.scales, guarded)

    def choice(self, candidates: int = 256, guarded: int = GUARD) -> Choice:
        return split_choice(self.bounds(guarded), self.a16, HS, self.rows, self.scales, candidates)


def gaussian(vocab: int = 600, hidden: int = 96, seed: int = 1) -> Head:
    """As a trained head: codes and activations with a peak at 0; each row has a 127."""
    random = np.random.default_rng(seed)
    weights = random.normal(size=(vocab, hidden))
    scales = np.abs(weights).max(axis=1) / 127
    a16 = np.rint(random.normal(size=hidden) * 6000).clip(-32767, 32767).astype(np.int64)
    return Head(np.rint(weights / scales[:, None]).astype(np.int8), scales, a16, seed)


def uniform(seed: int) -> Head:
    random = np.random.default_rng(seed)
    return Head(random.integers(-127, 128, (600, 96), dtype=np.int8), random.uniform(0.001, 0.1, 600),
                random.integers(-32767, 32768, 96), seed)


def few_codes(seed: int) -> Head:
    """Rows of -1, 0 and 1 times 127, as a ternary head: many logits lie close together."""
    random = np.random.default_rng(seed)
    return Head((127 * random.integers(-1, 2, (600, 96))).astype(np.int8), np.full(600, 0.01),
                random.integers(-9000, 9000, 96), seed)


def tied(seed: int) -> Head:
    """The best row is there three times."""
    head = gaussian(seed=seed)
    best = argmax(head.logits)
    for copy in (599, 17):
        head.rows[copy], head.scales[copy] = head.rows[best], head.scales[best]
    return head


def some_zero(seed: int) -> Head:
    head = gaussian(seed=seed)
    head.rows[::3], head.scales[::3] = 0, 0.0
    return head


def huge_scale(seed: int) -> Head:
    """Of a row whose logit is positive for even seeds alone: it is the best, or rules out nothing."""
    head = gaussian(seed=seed)
    head.scales[5] *= 2.0**20
    if (head.logits[5] > 0) != (seed % 2 == 0):
        head.rows[5] *= -1
    return head


def outlier(seed: int) -> Head:
    """One input holds nearly all of the column."""
    head = gaussian(seed=seed)
    head.a16 //= 1000
    head.a16[7] = 32767
    return head


def silent(seed: int) -> Head:
    head = gaussian(seed=seed)
    head.a16[:] = 0
    return head


HEADS: dict[str, Callable[[int], Head]] = {
    "gaussian": lambda seed: gaussian(seed=seed), "uniform": uniform, "few codes": few_codes, "tied": tied,
    "zeros": some_zero, "huge scale": huge_scale, "outlier": outlier, "silent": silent,
    "one row": lambda seed: gaussian(vocab=1, seed=seed), "one input": lambda seed: gaussian(hidden=1, seed=seed),
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", HEADS)
def test_the_token_is_that_of_the_whole_head(name: str, seed: int) -> None:
    """With a list for all rows nothing is given up; a short one may be, but is never wrong."""
    head = HEADS[name](seed)
    token = argmax(head.logits)
    long = head.choice(8192)
    assert long.token == token
    assert 1 <= long.rescored <= long.listed <= len(head.rows)
    assert head.choice(64).token in (token, None)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", HEADS)
def test_bounds_hold(name: str, seed: int) -> None:
    head = HEADS[name](seed)
    bounds, logits = head.bounds(), head.logits
    assert (bounds.lower <= logits).all()
    assert (logits <= bounds.upper).all()


@pytest.mark.parametrize("guarded", [1, 40, guard(0.5), guard(2)])
@pytest.mark.parametrize("seed", range(3))
def test_bounds_hold_exactly_where_the_integers_do(guarded: int, seed: int) -> None:
    """In floats, row by row: rounding never moves a logit over a bound that the sums keep."""
    head = gaussian(vocab=3000, seed=seed)
    far = reach(head.a16, guarded)
    high = high_codes(head.rows, head.dither).astype(np.int64)
    guess = STEP * (high @ head.a16) + int((STEP - head.dither) @ head.a16)
    inside = np.abs(head.rows.astype(np.int64) @ head.a16 - guess) <= far
    assert guarded > guard(1) or not inside.all()
    bounds = head.bounds(guarded)
    assert (bounds.lower[inside] <= head.logits[inside]).all()
    assert (head.logits[inside] <= bounds.upper[inside]).all()


def test_a_tie_goes_to_the_lowest_row() -> None:
    head = tied(3)
    best = np.flatnonzero(head.logits == head.logits.max())
    assert len(best) == 3
    assert head.choice().token == best[0]


@pytest.mark.parametrize("head", [silent(1), Head(np.zeros((50, 8), np.int8), np.zeros(50), np.arange(8))],
                         ids=["no activations", "no weights"])
def test_logits_that_are_all_equal(head: Head) -> None:
    """Every row can be the best; row 0 is."""
    assert head.choice(64).token in (0, None)
    assert head.choice(1024) == Choice(0, len(head.rows), len(head.rows))
    if len(head.rows) > 64:
        assert head.choice(64) == Choice(None, 64, 0)


def test_no_row_is_left() -> None:
    """Of the row with the largest lower bound the upper one is below it, as with a negative scale."""
    head = gaussian(vocab=2)
    bounds = Bounds(np.array([0.0, 5.0]), np.array([1.0, 4.0]))
    assert split_choice(bounds, head.a16, HS, head.rows, head.scales, 64) == Choice(None, 1, 0)


def test_more_rows_than_the_list_holds() -> None:
    head = gaussian(seed=1)
    listed = head.choice(8192).listed
    assert listed > 64
    assert head.choice(listed).token == argmax(head.logits)
    assert head.choice(listed - 1) == Choice(None, listed - 1, 0)


def test_a_vocabulary_shorter_than_the_list() -> None:
    head = gaussian(vocab=40)
    assert head.choice(64).token == argmax(head.logits)


def test_listed_rows_depend_on_their_order() -> None:
    """A row is compared with the bounds before it alone: rising rows are all listed, but few of them rescored."""
    head = gaussian(vocab=2000)
    rising = np.argsort(head.logits)
    up = Head(head.rows[rising], head.scales[rising], head.a16, head.seed)
    down = Head(head.rows[rising[::-1]], head.scales[rising[::-1]], head.a16, head.seed)
    assert up.choice(8192).rescored == down.choice(8192).rescored == down.choice(8192).listed
    assert up.choice(8192).listed > 10 * down.choice(8192).listed


@pytest.mark.parametrize(("deviations", "least", "most"), [(0.001, 0, 5), (0.5, 50, 100), (1, 100, 180), (8, 200, 200)])
def test_a_small_guard_is_found_out(deviations: float, least: int, most: int) -> None:
    """Where bounds do not hold there is no token rather than one that the rescored rows contradict. Only what is not
    rescored goes unseen, which is rare even with a guard of half a deviation."""
    heads = [gaussian(seed=seed) for seed in range(200)]
    found = [(head.choice(guarded=guard(deviations)), argmax(head.logits)) for head in heads]
    given = [choice.token == token for choice, token in found if choice.token is not None]
    assert least <= len(given) <= most
    assert sum(given) >= len(given) - 2
    assert all(choice.rescored >= 1 for choice, _ in found)


def test_a_failing_check() -> None:
    """A rescored logit above its upper bound, and a best one below the largest lower bound."""
    head = gaussian()
    best, bounds = argmax(head.logits), head.bounds()
    too_low = Bounds(np.full_like(bounds.lower, -1.0), np.where(np.arange(600) == best, 0.0, bounds.upper))
    assert split_choice(too_low, head.a16, HS, head.rows, head.scales, 8192).token is None
    most = float(head.logits.max()) + 1
    too_high = Bounds(np.full_like(bounds.lower, most), np.full_like(bounds.upper, most))
    assert split_choice(too_high, head.a16, HS, head.rows, head.scales, 8192) == Choice(None, 600, 600)


def test_reach_covers_the_norm() -> None:
    assert reach(np.array([3, 4]), guard(1)) == (6 * guard(1) >> 8) + 1
    assert guard(8) == 10034


def test_codes_of_every_weight_and_dither() -> None:
    """Four bits always; over the dither the error of a weight is each of -8..8 once, with a variance of 24."""
    weights, dithers = np.arange(-127, 128), np.arange(STEP)
    codes = np.stack([high_codes(weights[:, None].astype(np.int8), np.array([d]))[:, 0] for d in dithers])
    assert (codes.min(), codes.max(), codes.dtype) == (-8, 7, np.int8)
    errors = weights - (STEP * codes.astype(int) + STEP - dithers[:, None])
    for weight in range(255):
        assert sorted(errors[:, weight]) == list(range(-8, 9))
    assert np.mean(errors**2) == ERROR_VARIANCE
