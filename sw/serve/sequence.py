"""A sequence on the machine: the tokens of a request and of its answer so far."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hw.contract.config import AccelConfig
from sw.requests import Entry, Job
from sw.sampling import Sampler, list_temperature
from sw.serve.order import End, Failure, Likelihood, Order, Part, Tell
from sw.serve.stop_texts import StopTexts
from sw.shortlist import Shortlist
from sw.text import CheckpointText

__all__ = ["Sequence"]


class Sequence:
    """One sequence.

    Attributes:
        order: what was asked.
        slot: its KV slot; None while it waits for one.
        fed: positions that are in the cache of the slot.
        gone: whether nobody wants the rest of the answer.
        ended: whether the last event was told.
        made: tokens of the answer.
    """

    def __init__(self, order: Order, tell: Tell, text: CheckpointText, context: int, config: AccelConfig) -> None:
        self.order, self._tell = order, tell
        self.slot: int | None = None
        self.fed = self.made = self._reused = 0
        self.gone = self.ended = False
        self._ids = list(order.prompt)
        self._sampler = order.sampling and Sampler(order.sampling)
        self._config = config
        self._text, self._stops, self._end_ids = text.stream(), StopTexts(order.stops), text.tokens.end_ids
        self._context = context
        self._written = self._shown = 0  # characters
        self._likelihoods: list[tuple[int, Likelihood]] = []  # those not told yet, each with where its text begins

    def start(self, slot: int, reused: int) -> None:
        """Begin on a slot that holds the first `reused` tokens."""
        self.slot, self.fed, self._reused = slot, reused, reused

    @property
    def over(self) -> bool:
        """Whether nothing more is to be done."""
        return self.gone or self.ended

    @property
    def ready(self) -> bool:
        """Whether only the last token is to be fed, which chooses the next one."""
        return len(self._ids) - self.fed == 1

    @property
    def list_at(self) -> float | None:
        """The temperature of the shortlist that its next token is chosen from, if there is one."""
        if self._sampler:
            return self._sampler.list_temperature(self._config, self.order.alternatives)
        alternatives = self.order.alternatives
        return None if alternatives is None else list_temperature(self._config, None, alternatives)

    @property
    def needs_row(self) -> bool:
        """Whether its next token needs a row of logits."""
        return (self._sampler is not None or self.order.alternatives is not None) and self.list_at is None

    @property
    def likely_from_list(self) -> bool:
        """Whether the likelihoods of its next token come from a shortlist."""
        return self.order.alternatives is not None and self.list_at is not None

    @property
    def left(self) -> int:
        """Most tokens that a run may choose."""
        return min(self.order.max_new_tokens - self.made, self._context - self.fed)

    @property
    def entry(self) -> Entry:
        """The entry for the next batch."""
        assert self.slot is not None
        return Entry(self._ids[-1], self.fed, self.slot, self.list_at)

    def piece(self, size: int, chunk: int) -> Job:
        """Job for the next tokens that are to be fed, at most `size`; the last of them choose a token."""
        assert self.slot is not None
        part = tuple(self._ids[self.fed : self.fed + size])
        last = self.fed + len(part) == len(self._ids)
        return Job(prompt=part, start_position=self.fed, slot=self.slot, chunk=chunk, max_new_tokens=int(last),
                   last_logits=last and self.needs_row, list_at=self.list_at if last else None)

    def take(
        self, token: int, row: NDArray[np.float32] | None = None, shortlist: Shortlist | None = None
    ) -> bool:
        """Append the token that the machine chose, or one that is drawn from the row of logits or its shortlist.

        Returns False, and appends none, if the shortlist does not suffice: call it again with the row.

        Raises HardwareError: the logits are not finite.
        """
        if self.over:
            return True
        likelihood: Likelihood | None = None
        if row is not None:
            token = self._sampler.draw(row) if self._sampler else token
            if self.order.alternatives is not None:
                likelihood = Likelihood.of(token, row, self.order.alternatives)
        elif shortlist is not None:
            if self.needs_row or (self.order.alternatives is not None and shortlist.log_sum is None):
                return False
            drawn = self._sampler.draw_listed(shortlist) if self._sampler else token
            if drawn is None:
                return False
            token = drawn
            if self.order.alternatives is not None:
                likelihood = Likelihood.of_list(token, shortlist, self.order.alternatives)
        self.fed = len(self._ids)
        self._ids.append(token)
        self.made += 1
        if likelihood is not None and token not in self._end_ids:
            self._likelihoods.append((self._written, likelihood))
        written = self._text.add(token)
        self._written += len(written)
        shown, stopped = self._stops.add(written)
        full = self.made == self.order.max_new_tokens or self.fed >= self._context
        if not stopped and (token in self._end_ids or full):
            rest, stopped = self._stops.add(self._text.end())
            shown += rest if stopped else rest + self._stops.end()
        self._shown += len(shown)
        all_shown = not stopped and (token in self._end_ids or full)
        likelihoods = self._likelihoods_shown(all_shown)
        if shown or likelihoods:
            self._tell(Part(shown, likelihoods, self.made))
        if stopped or token in self._end_ids:
            self._end("stop")
        elif full:
            self._end("length")
        return True

    def _likelihoods_shown(self, all_shown: bool) -> tuple[Likelihood, ...]:
        """Those of tokens whose text begins in what is shown. The others are of a text that may become a stop text."""
        count = len(self._likelihoods) if all_shown else sum(at < self._shown for at, _ in self._likelihoods)
        told, self._likelihoods = self._likelihoods[:count], self._likelihoods[count:]
        return tuple(one for _, one in told)

    def _end(self, reason: Literal["stop", "length"]) -> None:
        self.ended = True
        self._tell(End(reason, len(self.order.prompt), self.made, self._reused))

    def fail(self, error: Exception) -> None:
        """End without the rest of the answer."""
        if not self.over:
            self.ended = True
            self._tell(Failure(error))
