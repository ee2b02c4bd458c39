"""Requests to the accelerator: a job, a batch of sequences, or the LM head of the pass before once more. The driver and
all links use these classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hw.contract.config import AccelConfig, ceil_div
from hw.contract.payloads import entry_words
from hw.contract.register_map import LogitsMode
from sw.sampling import Sampling

__all__ = ["Batch", "Entry", "HeadAgain", "Job", "Request", "request_from"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One sequence. `chunk` is how many prompt tokens share a pass over the weights, 1 to T.

    `start_position` is the position of the first prompt token; earlier positions are already in the slot's KV cache.
    `end_ids` end the sequence; the machine compares with at most `MAX_END_IDS` of them, the driver with any number.
    `last_logits` returns the rows of logits from which tokens are chosen, `all_logits` those of all positions.
    `list_at` is a temperature: it returns the shortlists of the rows from which tokens are chosen, on a machine that
    makes them.
    `guard` is the value of the register GUARD: if it is not 0, a token without row or shortlist is chosen from the high
    plane of the image's split head (`sw.split_head.guard_of`).
    `sampling` says how the driver draws tokens from rows; a link ignores it and chooses the largest logit.
    """

    prompt: tuple[int, ...]
    max_new_tokens: int
    slot: int = 0
    start_position: int = 0
    chunk: int
    end_ids: tuple[int, ...] = ()
    all_logits: bool = False
    last_logits: bool = False
    list_at: float | None = None
    guard: int = 0
    sampling: Sampling | None = None

    @property
    def logits_mode(self) -> LogitsMode:
        """Which rows of logits, or shortlists, go to memory."""
        if self.all_logits:
            return LogitsMode.ALL
        if self.last_logits:
            return LogitsMode.LAST
        return LogitsMode.NONE if self.list_at is None else LogitsMode.BEST

    @property
    def reads_high_plane(self) -> bool:
        """Whether its tokens are chosen from the high plane of the head."""
        return self.guard != 0 and self.max_new_tokens > 0 and self.logits_mode is LogitsMode.NONE

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Of the shortlists of a pass."""
        return (1.0 if self.list_at is None else self.list_at,)

    @property
    def columns(self) -> int:
        """Columns that a pass uses at most."""
        return self.chunk

    def prompt_words(self, config: AccelConfig) -> int:
        """Words that are read of the prompt area."""
        return len(self.prompt)

    @property
    def most_tokens(self) -> int:
        """Tokens that can be chosen."""
        return self.max_new_tokens

    def fed(self, made: int) -> int:
        """Positions that were fed when the run has ended with so many tokens."""
        return len(self.prompt) + max(made - 1, 0)

    def passes(self, made: int) -> int:
        """Passes over the layers until then."""
        return ceil_div(len(self.prompt), self.chunk) + max(made - 1, 0)

    def logit_rows(self, made: int) -> int:
        """Rows of logits until then."""
        return self.fed(made) if self.all_logits else made

    def lm_heads(self, made: int, together: int) -> int:
        """Passes over the LM head until then, if so many columns share one."""
        if not self.all_logits:
            return made
        chunks, rest = divmod(len(self.prompt), self.chunk)
        return chunks * ceil_div(self.chunk, together) + ceil_div(rest, together) + max(made - 1, 0)


@dataclass(frozen=True)
class Entry:
    """A sequence to continue: the token to feed next, its position, and the slot with the positions before it; with
    `list_at`, the temperature of its shortlist."""

    token: int
    position: int
    slot: int
    list_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class Batch:
    """1 to T sequences that decode together, one token of each per pass, for at most `max_new_tokens` passes.

    Token and row i of the run belong to sequence i modulo their number. The run ends with the pass in which the first
    of them chose an end id or filled its context. `guard` is that of a job; only a batch of one sequence uses it.
    """

    entries: tuple[Entry, ...]
    max_new_tokens: int
    end_ids: tuple[int, ...] = ()
    all_logits: bool = False
    guard: int = 0

    @property
    def logits_mode(self) -> LogitsMode:
        """Which rows of logits, or shortlists, go to memory; every column chooses a token."""
        if self.all_logits:
            return LogitsMode.ALL
        return LogitsMode.NONE if all(entry.list_at is None for entry in self.entries) else LogitsMode.BEST

    @property
    def reads_high_plane(self) -> bool:
        """Whether its tokens are chosen from the high plane of the head."""
        return self.guard != 0 and self.columns == 1 and self.logits_mode is LogitsMode.NONE

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Of the shortlists of a pass."""
        return tuple(1.0 if entry.list_at is None else entry.list_at for entry in self.entries)

    @property
    def columns(self) -> int:
        """Columns that a pass uses."""
        return len(self.entries)

    def prompt_words(self, config: AccelConfig) -> int:
        """Words that are read of the prompt area."""
        return entry_words(config) * self.columns

    @property
    def most_tokens(self) -> int:
        """Tokens that can be chosen."""
        return self.max_new_tokens * self.columns

    def fed(self, made: int) -> int:
        """Positions that were fed when the run has ended with so many tokens."""
        return made

    def passes(self, made: int) -> int:
        """Passes over the layers until then."""
        return made // self.columns

    def logit_rows(self, made: int) -> int:
        """Rows of logits until then."""
        return made

    def lm_heads(self, made: int, together: int) -> int:
        """Passes over the LM head until then, if so many columns share one."""
        return self.passes(made) * ceil_div(self.columns, together)


@dataclass(frozen=True, kw_only=True)
class HeadAgain:
    """Rows of logits of columns that chose a token in the last pass of the run before, whose shortlists did not
    suffice. The LM head runs again for all that chose one, the layers do not, and no token is chosen.

    `columns`: 1 after a job, those of the batch after a batch. `wanted` are those whose rows are returned, by number.
    """

    columns: int
    wanted: tuple[int, ...]

    @property
    def max_new_tokens(self) -> int:
        """Tokens to choose at most."""
        return 0

    @property
    def end_ids(self) -> tuple[int, ...]:
        """Tokens that end the run: none is chosen."""
        return ()

    @property
    def guard(self) -> int:
        """Value of the register GUARD."""
        return 0

    @property
    def reads_high_plane(self) -> bool:
        """Whether its tokens are chosen from the high plane of the head."""
        return False

    @property
    def logits_mode(self) -> LogitsMode:
        """Rows go to memory."""
        return LogitsMode.LAST

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Of the shortlists of a pass: there are none."""
        return ()

    def prompt_words(self, config: AccelConfig) -> int:
        """Words that are read of the prompt area."""
        return 0

    @property
    def most_tokens(self) -> int:
        """Tokens that can be chosen."""
        return 0

    def fed(self, made: int) -> int:
        """Positions that were fed."""
        return 0

    def passes(self, made: int) -> int:
        """Passes over the layers."""
        return 0

    def logit_rows(self, made: int) -> int:
        """Rows of logits in memory."""
        return self.columns

    def lm_heads(self, made: int, together: int) -> int:
        """Passes over the LM head, if so many columns share one."""
        return ceil_div(self.columns, together)


Request = Job | Batch | HeadAgain


def request_from(fields: dict[str, Any]) -> Request:
    """The request from a JSON object of its fields, as `dataclasses.asdict` makes it."""
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    if "entries" in values:
        return Batch(**{**values, "entries": tuple(Entry(**entry) for entry in values["entries"])})
    return HeadAgain(**values) if "wanted" in values else Job(**values)
