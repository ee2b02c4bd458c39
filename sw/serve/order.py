"""What a user asks of the engine, and what the engine answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sw.sampling import Sampling
from sw.shortlist import Shortlist

__all__ = ["End", "Event", "Failure", "Likelihood", "Order", "Part", "QueueFullError", "Tell"]


class QueueFullError(RuntimeError):
    """As many requests wait as may."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """A text to continue.

    Attributes:
        prompt: its token ids.
        max_new_tokens: most tokens of the answer, at least 1.
        sampling: how tokens are drawn; None: always the likeliest.
        stops: texts before which the answer ends.
        alternatives: how many likeliest tokens each token is to be compared with; None: no likelihoods.
    """

    prompt: tuple[int, ...]
    max_new_tokens: int
    sampling: Sampling | None = None
    stops: tuple[str, ...] = ()
    alternatives: int | None = None


@dataclass(frozen=True)
class Likelihood:
    """Natural logarithms of probabilities according to the logits alone: of a token, and of the likeliest ones."""

    token: int
    log_probability: float
    likeliest: tuple[tuple[int, float], ...]

    @classmethod
    def of(cls, token: int, row: NDArray[np.float32], count: int) -> Likelihood:
        """From a row of logits, (vocabulary,); the `count` likeliest tokens, of equal ones those with lower ids."""
        scores = row.astype(np.float64)
        scores -= scores.max()
        scores -= np.log(np.exp(scores).sum())
        count = min(count, len(scores))
        least = np.partition(scores, -count)[-count] if count else np.inf
        candidates = np.flatnonzero(scores >= least)
        order = candidates[np.argsort(-scores[candidates], kind="stable")][:count]
        return cls(token, float(scores[token]), tuple((int(one), float(scores[one])) for one in order))

    @classmethod
    def of_list(cls, token: int, shortlist: Shortlist, count: int) -> Likelihood | None:
        """As `of`, from a shortlist; all logarithms are off by the same, at most `sw.shortlist.log_sum_error`. None if
        the list has no log-sum-exp at temperature 1, not the token, or fewer than the `count` likeliest."""
        places = np.flatnonzero(shortlist.ids == token)
        if shortlist.log_sum is None or shortlist.temperature != 1 or not len(places):
            return None
        if count > len(shortlist.ids) and not shortlist.is_whole:
            return None
        scores = (shortlist.logits.astype(np.float64) - shortlist.log_sum).tolist()
        likeliest = tuple(zip(shortlist.ids[:count].tolist(), scores[:count], strict=True))
        return cls(token, scores[places[0]], likeliest)


@dataclass(frozen=True)
class Part:
    """What can be shown after a token of an answer. `likelihoods` are those of the tokens whose text begins in `text`,
    and of those before them that have no text of their own. `new_tokens` is how many the answer has so far."""

    text: str
    likelihoods: tuple[Likelihood, ...]
    new_tokens: int


@dataclass(frozen=True)
class End:
    """The end of an answer: `stop` at an end token or stop text, `length` at a limit.

    `new_tokens` includes the end token. `reused` is how many tokens of the prompt were in the KV cache.
    """

    reason: Literal["stop", "length"]
    prompt_tokens: int
    new_tokens: int
    reused: int


@dataclass(frozen=True)
class Failure:
    """The end of an answer that cannot be completed."""

    error: Exception


Event = Part | End | Failure

Tell = Callable[[Event], None]
"""Gets the events of an answer, in the thread of the machine. It must return at once."""
