"""Drawn tokens: the same set and the same chances as a plain implementation of the rules, and reproducible."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from sw.errors import HardwareError, JobError
from sw.sampling import Sampler, Sampling

SETTINGS: list[tuple[float, int | None, float]] = [
    (1.0, None, 1.0), (0.7, None, 0.9), (1.3, 5, 1.0), (2.0, 20, 0.6), (0.25, 3, 0.99), (1.0, 1000, 0.5),
    (5.0, None, 0.999), (1.0, None, 1e-9),
]


def chances(row: NDArray[np.float32], temperature: float, top_k: int | None, top_p: float) -> dict[int, float]:
    """By id: what the rules say, in plain Python. Divide; keep the k largest; keep a token as long as those before it
    have less than p together."""
    order = sorted(range(len(row)), key=lambda token: (-float(row[token]), token))[:top_k]
    largest = float(row[order[0]])
    weights = [math.exp((float(row[token]) - largest) / temperature) for token in order]
    whole, before, kept = math.fsum(weights), 0.0, {}
    for token, weight in zip(order, weights, strict=True):
        if top_p == 1 or not kept or before / whole < top_p:
            kept[token] = weight
        before += weight
    whole = math.fsum(kept.values())
    return {token: weight / whole for token, weight in kept.items()}


class Fixed:
    """In the place of the random generator."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        return self.value


def draw(row: NDArray[np.float32], value: float, temperature: float, top_k: int | None, top_p: float) -> int:
    sampler = Sampler(Sampling(temperature=temperature, top_k=top_k, top_p=top_p))
    sampler._random = Fixed(value)
    return sampler.draw(row)


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), SETTINGS)
@pytest.mark.parametrize("vocab", [1, 7, 300, 4000])
def test_each_random_number_gives_its_token(
    vocab: int, temperature: float, top_k: int | None, top_p: float
) -> None:
    """In the middle of every token's part of 0 to 1, parts in order of ids; many equal logits among them."""
    random = np.random.default_rng(vocab)
    for values in (random.normal(0, 3, vocab), random.integers(-3, 3, vocab), np.zeros(vocab)):
        row = values.astype(np.float32)
        low, found = 0.0, []
        expected = chances(row, temperature, top_k, top_p)
        for token in sorted(expected):
            if expected[token] > 1e-12:
                value = low + expected[token] / 2
                assert draw(row, value, temperature, top_k, top_p) == token
                found.append(token)
            low += expected[token]
        for value in (0.0, 1 - 2**-53):
            assert draw(row, value, temperature, top_k, top_p) in expected
        assert found


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), SETTINGS)
def test_statistics(temperature: float, top_k: int | None, top_p: float) -> None:
    """Chi-square of 20,000 draws; below the quantile 0.999 by Wilson and Hilferty."""
    row = np.random.default_rng(1).normal(0, 1, 40).astype(np.float32)
    expected = chances(row, temperature, top_k, top_p)
    sampler, draws = Sampler(Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=7)), 20_000
    found = Counter(sampler.draw(row) for _ in range(draws))
    assert set(found) <= set(expected)
    chi_square = sum((found[token] - draws * chance) ** 2 / (draws * chance) for token, chance in expected.items())
    free = len(expected) - 1
    if free:
        assert chi_square < free * (1 - 2 / (9 * free) + 3.09 * math.sqrt(2 / (9 * free))) ** 3
    else:
        assert found == Counter({next(iter(expected)): draws})


def test_a_seed_is_a_sequence() -> None:
    rows = np.random.default_rng(2).normal(0, 1, (50, 100)).astype(np.float32)
    drawn = {seed: [Sampler(Sampling(temperature=1.0, seed=seed))] for seed in (0, 1, (1 << 64) - 1)}
    tokens = {seed: [sampler.draw(row) for row in rows] for seed, (sampler,) in drawn.items()}
    again = Sampler(Sampling(temperature=1.0, seed=1))
    assert [again.draw(row) for row in rows] == tokens[1]
    assert len({tuple(sequence) for sequence in tokens.values()}) == 3


def test_every_token_takes_one_random_number() -> None:
    """Whatever the rows: what follows does not depend on them."""
    rows = np.random.default_rng(3).normal(0, 1, (2, 100)).astype(np.float32)
    one, other = (Sampler(Sampling(temperature=1.0, top_p=0.5)) for _ in range(2))
    one.draw(rows[0]), other.draw(rows[1][:9])
    assert [one.draw(rows[0]) for _ in range(20)] == [other.draw(rows[0]) for _ in range(20)]


@pytest.mark.parametrize("sampling", [
    Sampling(temperature=9.0, top_k=1), Sampling(temperature=9.0, top_p=1e-12), Sampling(temperature=1e-320),
])
def test_only_the_largest(sampling: Sampling) -> None:
    """As the machine chooses: of equal ones the lowest id, but for the temperature alone, which knows no order."""
    sampler, random = Sampler(sampling), np.random.default_rng(4)
    for _ in range(200):
        row = random.normal(0, 1, 50).astype(np.float32)
        assert sampler.draw(row) == row.argmax()
        if sampling.temperature > 1:
            row[random.integers(0, 50, 5)] = 9
            assert sampler.draw(row) == row.argmax()


def test_what_has_no_chance_is_never_drawn() -> None:
    """Not even by a random number of 0, or the largest there is."""
    row = np.array([0, 0, 9, 0], dtype=np.float32)
    for value in (0.0, 1 - 2**-53):
        assert draw(row, value, 1e-3, None, 1.0) == 2


def test_of_equal_logits_the_lower_ids_stay() -> None:
    row = np.array([0, 5, 1, 5, 5, 5, 2], dtype=np.float32)
    for value in np.linspace(0, 0.999, 50):
        assert draw(row, value, 1.0, 3, 1.0) in (1, 3, 4)
        assert draw(row, value, 1.0, None, 0.4) in (1, 3)


def test_min_p_is_a_share_of_the_largest_probability() -> None:
    """At any temperature, of the probabilities, and after top-k and top-p."""
    row = np.log(np.array([8, 4, 2, 1, 1], dtype=np.float32))

    def drawn(**settings: float) -> set[int]:
        sampler = Sampler(Sampling(**settings))
        return {sampler.draw(row) for _ in range(500)}

    assert drawn(temperature=1.0, min_p=0.2) == {0, 1, 2}
    assert drawn(temperature=0.5, min_p=0.2) == {0, 1}
    assert drawn(temperature=1.0, min_p=1.0) == {0}
    assert drawn(temperature=1.0, min_p=0.2, top_k=2) == {0, 1}
    assert drawn(temperature=1.0, min_p=0.01, top_p=0.8) == {0, 1, 2}


def test_penalties_count_what_was_drawn() -> None:
    """Of the largest logit each time; drawn tokens alone count, once or as often as they were drawn."""
    row = np.array([2.0, 1.5, 0.9], dtype=np.float32)

    def drawn(**settings: float) -> list[int]:
        sampler = Sampler(Sampling(temperature=1.0, top_k=1, **settings))
        return [sampler.draw(row) for _ in range(5)]

    assert drawn() == [0, 0, 0, 0, 0]
    assert drawn(presence_penalty=1.0) == [0, 1, 0, 0, 0]
    assert drawn(frequency_penalty=0.6) == [0, 1, 0, 1, 2]
    assert drawn(presence_penalty=-2.0) == [0, 0, 0, 0, 0]
    assert row.tolist() == pytest.approx([2.0, 1.5, 0.9])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite(value: float) -> None:
    row = np.zeros(8, dtype=np.float32)
    row[3] = value
    with pytest.raises(HardwareError, match="contain NaN or infinity"):
        Sampler(Sampling(temperature=1.0)).draw(row)


@pytest.mark.parametrize(("values", "sentence"), [
    ({"temperature": 0.0}, "temperature must be a number above 0, or 0 for greedy, not 0.0"),
    ({"temperature": -1.0}, "temperature must be .* not -1.0"),
    ({"temperature": math.nan}, "temperature must be .* not nan"),
    ({"temperature": math.inf}, "temperature must be .* not inf"),
    ({"temperature": 1.0, "top_k": 0}, "top-k must be at least 1, not 0"),
    ({"temperature": 1.0, "top_k": -3}, "top-k must be at least 1, not -3"),
    ({"temperature": 1.0, "top_p": 0.0}, "top-p must be above 0 and at most 1, not 0.0"),
    ({"temperature": 1.0, "top_p": 1.01}, "top-p must be above 0 and at most 1, not 1.01"),
    ({"temperature": 1.0, "top_p": math.nan}, "top-p must be above 0 and at most 1, not nan"),
    ({"temperature": 1.0, "min_p": -0.1}, "min-p must be 0 to 1, not -0.1"),
    ({"temperature": 1.0, "min_p": math.nan}, "min-p must be 0 to 1, not nan"),
    ({"temperature": 1.0, "presence_penalty": 2.5}, "the presence penalty must be -2 to 2, not 2.5"),
    ({"temperature": 1.0, "frequency_penalty": math.nan}, "the frequency penalty must be -2 to 2, not nan"),
    ({"temperature": 1.0, "seed": -1}, "seed must be 0 to 18446744073709551615, not -1"),
    ({"temperature": 1.0, "seed": 1 << 64}, "seed must be 0 to 18446744073709551615"),
])
def test_values_that_mean_nothing(values: dict[str, float], sentence: str) -> None:
    with pytest.raises(JobError, match=sentence):
        Sampling(**values)


def least_ms(function: Callable[[], object]) -> float:
    """Processor time of the fastest of many calls."""
    def once() -> float:
        started = time.process_time()
        function()
        return 1000 * (time.process_time() - started)

    return min(once() for _ in range(30))


def test_time_of_a_token() -> None:
    """At the vocabulary of BitNet-2B-4T, less than to sort it."""
    row = np.random.default_rng(5).normal(0, 3, 128256).astype(np.float32)
    sort_ms = least_ms(lambda: np.argsort(-row.astype(np.float64), kind="stable"))
    print(f"\nsorting: {sort_ms:.2f} ms")
    for top_k, top_p in ((None, 1.0), (50, 1.0), (None, 0.9), (50, 0.9)):
        sampler = Sampler(Sampling(temperature=0.6, top_k=top_k, top_p=top_p))
        token_ms = least_ms(lambda sampler=sampler: sampler.draw(row))
        print(f"top-k {top_k}, top-p {top_p}: {token_ms:.2f} ms")
        assert token_ms < sort_ms
