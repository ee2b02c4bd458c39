"""Sampling of tokens from logits: penalties, temperature, top-k, top-p, min-p, in the order of transformers.

Greedy decoding does not use it: the accelerator computes the argmax.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sw.errors import HardwareError, JobError

__all__ = ["Sampler", "Sampling"]

FIRST_COUNT = 256
"""Tokens that are sorted to find the smallest set of a mass; eight times as many whenever they do not suffice."""


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


class Sampler:
    """Draws the tokens of a sequence, one after the other."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._random = np.random.Generator(np.random.PCG64(sampling.seed))
        self._drawn: Counter[int] = Counter()

    def draw(self, row: NDArray[np.float32]) -> int:
        """Draw a token id from a row of logits, (vocabulary,). Each call takes exactly one random number.

        Probabilities are float64, and the random number selects from their cumulative sum in order of ids.

        Raises:
            HardwareError: a logit is not finite.
        """
        if not np.isfinite(row).all():
            raise HardwareError("the logits contain NaN or infinity, because memory or its connection is faulty: run "
                                "`bitnet-fpga doctor --board NAME`")
        token = self._draw(self._penalised(row.astype(np.float64)))
        self._drawn[token] += 1
        return token

    def _penalised(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The scores, lower for tokens that were drawn before. Changes the array."""
        presence, frequency = self._sampling.presence_penalty, self._sampling.frequency_penalty
        if presence or frequency:
            for token, count in self._drawn.items():
                scores[token] -= presence + frequency * count
        return scores

    def _draw(self, scores: NDArray[np.float64]) -> int:
        ids = np.arange(len(scores))
        if self._sampling.top_k is not None:
            ids = np.sort(_largest(scores, self._sampling.top_k))
        with np.errstate(over="ignore"):  # a tiny temperature: all but the largest have weight 0
            weights = np.exp((scores[ids] - scores.max()) / self._sampling.temperature)
        if self._sampling.top_p < 1:
            kept = np.sort(_nucleus(scores[ids], weights, self._sampling.top_p))
            ids, weights = ids[kept], weights[kept]
        if self._sampling.min_p:
            kept = weights >= self._sampling.min_p  # the largest weight is 1
            ids, weights = ids[kept], weights[kept]
        mass = np.cumsum(weights)
        return int(ids[np.searchsorted(mass, self._random.random() * mass[-1], side="right")])


def _largest(scores: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """Indices of the `count` largest scores, largest first, equal ones by index."""
    if count < len(scores):
        least = np.partition(scores, -count)[-count]
        above = np.flatnonzero(scores > least)
        found = np.concatenate([above, np.flatnonzero(scores == least)[: count - len(above)]])
    else:
        found = np.arange(len(scores))
    return found[np.argsort(-scores[found], kind="stable")]


def _nucleus(scores: NDArray[np.float64], weights: NDArray[np.float64], top_p: float) -> NDArray[np.intp]:
    """Indices of the fewest largest scores, at least one, whose weights sum to the share `top_p` of all weights."""
    wanted, count = top_p * weights.sum(), FIRST_COUNT
    while True:
        found = _largest(scores, count)
        mass = np.cumsum(weights[found])
        if mass[-1] >= wanted or count >= len(scores):
            return found[: np.searchsorted(mass, wanted) + 1]
        count *= 8
