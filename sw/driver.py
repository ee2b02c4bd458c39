"""Driver of the accelerator: runs jobs on a `Link`, which is a board, a simulator or the golden model.

A job is one sequence: prompt, start position and the most tokens to generate. The link runs the loop over tokens, the
argmax and the stop conditions, as the FPGA does; the driver checks the job, passes tokens on and gives the reason for
the end. A job with sampling takes one run per token: the link returns a shortlist or a row of logits, the driver draws
a token from it and feeds it in the next run. A shortlist that does not suffice takes another run, of the LM head alone.
A job with more end ids than the accelerator has registers works the same way.
`sw/scheduler.py` runs several jobs together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hw.contract.register_map import MAX_END_IDS
from sw.errors import HardwareError, JobError
from sw.kv_record import KvRecord
from sw.links.link import Link, RunStats
from sw.requests import HeadAgain, Job, Request
from sw.sampling import Sampler
from sw.shortlist import Shortlist
from sw.split_head import HeadCounts, check_guard

__all__ = ["Driver", "Generation", "next_position"]


@dataclass
class Generation:
    """Result of a job. `logits` has one row per position fed if the job requested all logits; `lists` has a shortlist
    per token if it requested those.

    `reused` is how many of the first tokens of the prompt were in the KV cache; they were not fed.
    """

    prompt_ids: list[int]
    tokens: list[int] = field(default_factory=list)
    logits: list[NDArray[np.float32]] = field(default_factory=list)
    lists: list[Shortlist] = field(default_factory=list)
    stopped: str = ""
    reused: int = 0

    def draw(self, sampler: Sampler) -> bool:
        """Replace the last token by one that is drawn from the last shortlist, or else from the last row of logits.

        Returns False, and draws none, if the shortlist does not suffice.
        """
        token = sampler.draw_listed(self.lists[-1]) if self.lists else sampler.draw(self.logits[-1])
        if token is not None:
            self.tokens[-1] = token
        return token is not None


class Driver:
    """Runs jobs with a model on a link. `total` sums the statistics of all runs; None if the link measures nothing.
    `heads` sums the counts of those that read the high plane; None if there was none. `cache` says what the KV cache
    holds."""

    def __init__(self, link: Link) -> None:
        self.config, self.link, self.shape = link.config, link, link.plan.shape
        self.total: RunStats | None = None
        self.heads: HeadCounts | None = None
        self.cache = KvRecord()

    def check(self, job: Job) -> None:
        """Check a job before it runs. Raises JobError if it cannot run."""
        shape = self.shape
        if not job.prompt:
            raise JobError("the prompt is empty; give at least one token")
        for token in job.prompt:
            if not 0 <= token < shape.vocab:
                raise JobError(f"token id {token} is outside the vocabulary of {shape.vocab}")
        if job.start_position < 0:
            raise JobError(f"start-position must not be negative, but is {job.start_position}")
        if job.start_position + len(job.prompt) > shape.context:
            behind = f" after {job.start_position} positions" if job.start_position else ""
            raise JobError(f"the prompt has {len(job.prompt)} tokens{behind}, but the context holds {shape.context}: "
                           "shorten the prompt, or use a longer context")
        if job.max_new_tokens < 0:
            raise JobError(f"max-new-tokens must not be negative, but is {job.max_new_tokens}")
        if not 1 <= job.chunk <= self.config.columns:
            raise JobError(f"chunk must be 1 to {self.config.columns}, the preset's columns, not {job.chunk}")
        for token in job.end_ids:
            if not 0 <= token < shape.vocab:
                raise JobError(f"end id {token} is outside the vocabulary of {shape.vocab}")
        if job.list_at is not None and not self.config.shortlist:
            raise JobError(f"preset {self.config.name} makes no shortlists: leave out list_at, or set the preset's "
                           "shortlist to 64")
        check_guard(job.guard, self.link.plan)
        if not 0 <= job.slot < shape.sequences:
            raise JobError(f"slot must be 0 to {shape.sequences - 1}, the KV slots of the image, not {job.slot}")

    def run(
        self, request: Request, sequences: Sequence[Generation], on_token: Callable[[int], None] = lambda token: None
    ) -> None:
        """Run a checked request. Tokens and rows are assigned to its sequences in turn; `on_token` gets each token.

        An exception of `on_token` ends the run. After any error the link can run the next request.

        Raises:
            HardwareError: the run failed.
        """
        rows, lists, chosen = 0, 0, list[int]()
        self.cache.begin(request)
        try:
            with closing(self.link.run(request)) as steps:
                for step in steps:
                    for row in step.rows:
                        sequences[rows % len(sequences)].logits.append(row.astype(np.float32))
                        rows += 1
                    for shortlist in step.lists:
                        sequences[lists % len(sequences)].lists.append(shortlist)
                        lists += 1
                    if step.token is not None:
                        sequences[len(chosen) % len(sequences)].tokens.append(step.token)
                        chosen.append(step.token)
                        on_token(step.token)
                    if step.heads is not None:
                        self.heads = step.heads if self.heads is None else self.heads + step.heads
        except HardwareError:
            self.cache.forget()
            raise
        except BaseException:
            self.cache.end(request, chosen, whole=False)
            raise
        self.cache.end(request, chosen, whole=True)
        measured = self.link.stats
        if measured is not None:
            if isinstance(request, HeadAgain):
                measured = replace(measured, heads_again=1)
            self.total = measured if self.total is None else self.total + measured

    def draw(self, drawing: Sequence[tuple[Generation, Sampler | None]]) -> None:
        """Draw the last token of each result that has a sampler. `drawing` are all sequences of the last run.

        Raises HardwareError: the logits are not finite, or the run of the LM head for shortlists that do not suffice
        failed.
        """
        left = [n for n, (result, sampler) in enumerate(drawing)
                if sampler and result.tokens and not result.draw(sampler)]
        if not left:
            return
        rows = [Generation([]) for _ in left]
        self.run(HeadAgain(columns=len(drawing), wanted=tuple(left)), rows)
        for n, row in zip(left, rows, strict=True):
            result, sampler = drawing[n]
            assert sampler is not None
            result.tokens[-1] = sampler.draw(row.logits[-1])

    def stopped(self, job: Job, result: Generation) -> str:
        """The reason why a sequence ends here; empty if it can continue."""
        if result.tokens and result.tokens[-1] in job.end_ids:
            return f"end id {result.tokens[-1]}"
        if len(result.tokens) == job.max_new_tokens:
            return f"{job.max_new_tokens} tokens reached"
        if next_position(job, result) >= self.shape.context:
            return f"context of {self.shape.context} full"
        return ""

    def generate(
        self, job: Job, on_token: Callable[[int], None] = lambda token: None, *, reuse: bool = False
    ) -> Generation:
        """Run a job; `on_token` gets each token. Without sampling, the link chooses the token with the largest logit.

        With `reuse`, the first tokens of the prompt that the KV cache of its slot holds are not fed again; it must
        start at position 0.

        Raises:
            JobError: the job cannot run; nothing was run.
            HardwareError: the run failed.
        """
        self.check(job)
        reused = self.cache.shared(job.slot, job.prompt) if reuse else 0
        result = Generation(list(job.prompt), reused=reused)
        if reused:
            job = replace(job, prompt=job.prompt[reused:], start_position=reused)
        if job.sampling is None and len(job.end_ids) <= MAX_END_IDS:
            self.run(job, [result], on_token)
            result.stopped = self.stopped(job, result)
        else:
            self._step(job, job.sampling and Sampler(job.sampling), result, on_token)
        if not result.stopped:
            raise HardwareError(f"the run ended after {len(result.tokens)} tokens, before any stop condition: reset "
                                "the accelerator and run again")
        return result

    def _step(self, job: Job, sampler: Sampler | None, result: Generation, on_token: Callable[[int], None]) -> None:
        """Run a job with one run per token, until a stop condition holds or a run returns no token."""
        part = replace(job, max_new_tokens=min(1, job.max_new_tokens), end_ids=())
        while True:
            if sampler:
                list_at = sampler.list_temperature(self.config)
                part = replace(part, list_at=list_at, last_logits=list_at is None)
            made = len(result.tokens)
            self.run(part, [result])
            if len(result.tokens) > made:
                self.draw([(result, sampler)])
                on_token(result.tokens[-1])
            if not job.all_logits:
                result.logits.clear()
            result.lists.clear()
            result.stopped = self.stopped(job, result)
            if result.stopped or len(result.tokens) == made:
                return
            part = replace(part, prompt=(result.tokens[-1],), start_position=next_position(job, result), chunk=1)


def next_position(job: Job, result: Generation) -> int:
    """Position at which the last token of a result would be fed."""
    return job.start_position + len(job.prompt) + len(result.tokens) - 1
