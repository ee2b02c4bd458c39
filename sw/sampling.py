"""Sampling of tokens from logits: penalties, temperature, top-k, top-p, min-p, in the order of transformers.

Greedy decoding does not use it: the accelerator computes the argmax.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw.contract.config import AccelConfig
from hw.contract.shortlist import SHORTLIST_ROWS
from sw.errors import HardwareError, JobError
from sw.shortlist import Shortlist, log_sum_error

__all__ = ["Sampler", "Sampling", "list_temperature"]

FIRST_COUNT = 256
"""Tokens that are sorted to find the smallest set of a mass; eight times as many whenever they do not suffice."""

ROWS_AFTER_LIST = 16
"""Tokens drawn from rows after one that a list did not determine."""

MARGIN = 1e-12
"""Relative, of sums of weights: more than the rounding of float64, whose order of summation is not ours."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Sampling settings of one sequence. Raises JobError for values out of range.

    Attributes:
        temperature: the logits are divided by it; above 0.
        top_k: number of largest logits to keep; of equal ones, those with lower ids. None: all.
        top_p: keep the smallest set of the largest of these whose probabilities sum to at least this; 1: all.
        min_p: of these, keep those whose probability is at least this share of the largest one; 0: all.
        presence_penalty: subtracted from the logits of tokens that the sequence has drawn before; -2 to 2.
        frequency_penalty: subtracted as often as it has drawn them; -2 to 2.
        seed: seed of the sequence's own PCG64 generator. The same seed, model and prompt give the same tokens, alone
            and in a batch, on every backend and preset with the same logits.
    """

    temperature: float
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise JobError(f"temperature must be a number above 0, or 0 for greedy, not {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise JobError(f"top-k must be at least 1, not {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise JobError(f"top-p must be above 0 and at most 1, not {self.top_p}")
        if not 0 <= self.min_p <= 1:
            raise JobError(f"min-p must be 0 to 1, not {self.min_p}")
        for name, value in (("presence", self.presence_penalty), ("frequency", self.frequency_penalty)):
            if not -2 <= value <= 2:
                raise JobError(f"the {name} penalty must be -2 to 2, not {value}")
        if not 0 <= self.seed < 1 << 64:
            raise JobError(f"seed must be 0 to {(1 << 64) - 1}, not {self.seed}")

    @property
    def from_list(self) -> bool:
        """Whether a shortlist may determine the tokens (`Sampler.draw_listed`). Without one of these it does not,
        unless it holds the whole vocabulary."""
        return (self.top_k is not None and self.top_k <= SHORTLIST_ROWS) or self.top_p < 1 or self.min_p > 0


def list_temperature(
    config: AccelConfig, sampling: Sampling | None, alternatives: int | None = None
) -> float | None:
    """The temperature of the shortlists that tokens can be drawn from; None if they need rows of logits.

    Likelihoods, of the token and of so many `alternatives`, are those of temperature 1. A list of that temperature does
    for drawing with another one, unless top-p needs its sum.
    """
    if not config.shortlist or (sampling and not sampling.from_list):
        return None
    if alternatives is None:
        return sampling.temperature if sampling else None
    if alternatives > SHORTLIST_ROWS:
        return None
    if sampling and sampling.temperature != 1 and sampling.top_p < 1 and (sampling.top_k or math.inf) > SHORTLIST_ROWS:
        return None
    return 1.0


class Sampler:
    """Draws the tokens of a sequence, one after the other."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._random = np.random.Generator(np.random.PCG64(sampling.seed))
        self._drawn: Counter[int] = Counter()
        self._rows = 0  # tokens that are to be drawn from rows, after a list that did not suffice

    def list_temperature(self, config: AccelConfig, alternatives: int | None = None) -> float | None:
        """The temperature of the shortlist that the next token can be drawn from, as `list_temperature`.

        After a list that did not suffice, rows are asked for at once for the next `ROWS_AFTER_LIST` tokens, since a
        list in vain takes another run of the LM head. The tokens are the same either way.
        """
        return None if self._rows else list_temperature(config, self._sampling, alternatives)

    def draw(self, row: NDArray[np.float32]) -> int:
        """Draw a token id from a row of logits, (vocabulary,). Each call takes exactly one random number.

        Probabilities are float64, and the random number selects from their cumulative sum in order of ids.

        Raises:
            HardwareError: a logit is not finite.
        """
        if not np.isfinite(row).all():
            raise HardwareError("the logits contain NaN or infinity, because memory or its connection is faulty: run "
                                "`bitnet-fpga doctor --board NAME`")
        self._rows = max(0, self._rows - 1)
        scores = row.astype(np.float64)
        for token, penalty in self._penalties().items():
            scores[token] -= penalty
        return self._draw(*self._kept(np.arange(len(scores)), scores))

    def draw_listed(self, shortlist: Shortlist) -> int | None:
        """Draw the token id that `draw` would draw from the row that a list is of, with the same random number.

        None if the list does not determine that token: no random number is taken, and `draw` is to be called.
        """
        kept = self._kept_of_list(shortlist)
        if kept is None:
            self._rows = 1 + ROWS_AFTER_LIST
            return None
        return self._draw(*kept)

    def _penalties(self) -> dict[int, float]:
        """By id: what is subtracted from the logits of tokens that were drawn before."""
        presence, frequency = self._sampling.presence_penalty, self._sampling.frequency_penalty
        if not presence and not frequency:
            return {}
        return {token: presence + frequency * count for token, count in self._drawn.items()}

    def _kept(
        self, ids: NDArray[np.intp], scores: NDArray[np.float64], whole: float | None = None
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """What top-k, top-p and min-p leave of these tokens, and their weights; that of the largest score is 1. All in
        order of ids. `whole`: what top-p is a share of, if that is not the weight of what top-k leaves of them."""
        settings = self._sampling
        if settings.top_k is not None:
            kept = np.sort(_largest(scores, settings.top_k))
            ids, scores = ids[kept], scores[kept]
        weights = _weights(scores, scores.max(), settings.temperature)
        if settings.top_p < 1:
            wanted = settings.top_p * (weights.sum() if whole is None else whole)
            kept = np.sort(_nucleus(scores, weights, wanted))
            ids, weights = ids[kept], weights[kept]
        if settings.min_p:
            kept = weights >= settings.min_p
            ids, weights = ids[kept], weights[kept]
        return ids, weights

    def _kept_of_list(self, shortlist: Shortlist) -> tuple[NDArray[np.intp], NDArray[np.float64]] | None:
        """What `_kept` leaves of the whole row; None if the list does not determine it.

        Listed tokens with scores above those of all others, whatever these are, are the first ones in the order of the
        whole row. Top-k and top-p leave a first part of that order. It must end among them, unless min-p drops all
        others.
        """
        settings, penalties = self._sampling, self._penalties()
        scores, unlisted = shortlist.logits.astype(np.float64), list[float]()
        if penalties:
            places = {token: place for place, token in enumerate(shortlist.ids.tolist())}
            for token, penalty in penalties.items():
                if token in places:
                    scores[places[token]] -= penalty
                else:
                    unlisted.append(penalty)
        least = float(shortlist.logits[-1])
        bound = -math.inf if shortlist.is_whole else least - min([0.0, *unlisted])  # of tokens that are not listed
        first = np.flatnonzero(scores > bound) if penalties else np.arange(len(scores))  # else the list is their order
        if not len(first):
            return None
        first = first[np.argsort(shortlist.ids[first])]
        ids, first_scores, top_k = shortlist.ids[first], scores[first], settings.top_k
        if shortlist.is_whole or (top_k is not None and top_k <= len(ids)):
            return self._kept(ids, first_scores)

        largest = first_scores.max()
        mass = float(_weights(first_scores, largest, settings.temperature).sum())
        other = float(_weights(np.array([bound]), largest, settings.temperature)[0]) * (1 + MARGIN)  # at most, of one
        if top_k is not None and top_k < shortlist.vocab:
            low, high = mass, mass + (top_k - len(ids)) * other
        else:
            low, high = self._mass_of_list(shortlist, scores, largest, unlisted)
        low, high = low * (1 - MARGIN), high * (1 + MARGIN)
        if other >= settings.min_p and (settings.top_p == 1 or settings.top_p * high > mass * (1 - MARGIN)):
            return None  # others may be kept
        kept = self._kept(ids, first_scores, low)
        return kept if np.array_equal(kept[0], self._kept(ids, first_scores, high)[0]) else None

    def _mass_of_list(
        self, shortlist: Shortlist, scores: NDArray[np.float64], largest: float, unlisted: list[float]
    ) -> tuple[float, float]:
        """Least and most weight of all tokens, from a list, scores of its tokens, and penalties of drawn others."""
        temperature, least = self._sampling.temperature, float(shortlist.logits[-1])
        ends = _weights(np.array([least, *(least - penalty for penalty in unlisted)]), largest, temperature)
        low, high = 0.0, (shortlist.vocab - len(scores)) * float(ends[0])
        if shortlist.log_sum is not None and shortlist.temperature == temperature:
            with np.errstate(over="ignore"):  # where penalties are large in relation to the temperature
                whole = float(np.exp(shortlist.log_sum - largest / temperature))
                others = whole - float(_weights(shortlist.logits.astype(np.float64), largest, temperature).sum())
            error = whole * (math.expm1(log_sum_error(shortlist.vocab)) + MARGIN)
            if math.isfinite(others):
                low, high = max(low, others - error), min(high, others + error)
        changes = ends[1:] - ends[0]  # the most that each penalty changes
        low = max(0.0, low + float(changes[changes < 0].sum()))
        high += float(changes[changes > 0].sum())
        listed = float(_weights(scores, largest, temperature).sum())
        return listed + low, listed + high

    def _draw(self, ids: NDArray[np.intp], weights: NDArray[np.float64]) -> int:
        mass = np.cumsum(weights)
        token = int(ids[np.searchsorted(mass, self._random.random() * mass[-1], side="right")])
        self._drawn[token] += 1
        return token


def _weights(scores: NDArray[np.float64], largest: float, temperature: float) -> NDArray[np.float64]:
    """In relation to that of the largest score. A float does not depend on where in the array its score is."""
    with np.errstate(over="ignore"):  # a tiny temperature: all but the largest have weight 0
        return np.exp((scores - largest) / temperature)


def _largest(scores: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """Indices of the `count` largest scores, largest first, equal ones by index."""
    if count < len(scores):
        least = np.partition(scores, -count)[-count]
        above = np.flatnonzero(scores > least)
        found = np.concatenate([above, np.flatnonzero(scores == least)[: count - len(above)]])
    else:
        found = np.arange(len(scores))
    return found[np.argsort(-scores[found], kind="stable")]


def _nucleus(scores: NDArray[np.float64], weights: NDArray[np.float64], wanted: float) -> NDArray[np.intp]:
    """Indices of the fewest largest scores, at least one, whose weights sum to `wanted`; all if they do not."""
    count = FIRST_COUNT
    while True:
        found = _largest(scores, count)
        mass = np.cumsum(weights[found])
        if mass[-1] >= wanted or count >= len(scores):
            return found[: np.searchsorted(mass, wanted) + 1]
        count *= 8
