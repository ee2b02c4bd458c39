"""The accelerator as a host program sees it. This file is the one driver; what executes the job is a `Link`.

A job is one sequence: prompt, start position, how many tokens at most. The loop over tokens, the argmax and the stop
conditions run behind the link, as they do in fabric; the driver checks the job, streams tokens and says why it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from importlib import import_module
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hw.config import AccelConfig
from sw.image import ModelImage, ModelShape
from sw.requests import Job

__all__ = ["Accelerator", "Generation", "Job", "JobError", "Link", "Step", "open_link"]

LINKS = {"golden": "sim.links.golden", "sim": "sim.links.simulated"}
"""Where a link is defined; imported when it is asked for, so that the host needs no simulator."""


class JobError(ValueError):
    """A job that the loaded model cannot run."""


@dataclass(frozen=True)
class Step:
    """What one pass gives: logits of the rows that were asked for, and the token chosen if there is one."""

    rows: list[NDArray[np.float64]]
    token: int | None


class Link(Protocol):
    """Executes jobs on a model image."""

    shape: ModelShape

    def run(self, job: Job) -> Generator[Step, None, None]:
        """Steps of a job in order; ends at an end id, `max_new_tokens`, or a full context. Closing it ends the job."""
        ...


@dataclass
class Generation:
    """Result of a job. `logits` has one row per position fed when the job asked for all of them."""

    prompt_ids: list[int]
    tokens: list[int] = field(default_factory=list)
    logits: list[NDArray[np.float32]] = field(default_factory=list)
    stopped: str = ""


def open_link(name: str, config: AccelConfig, image: ModelImage, **options: int) -> Link:
    """The link of that name on an image, with options that only it has. Raises JobError that lists the names."""
    if name not in LINKS:
        raise JobError(f"no backend named {name!r}; there are: {', '.join(LINKS)}")
    return import_module(LINKS[name]).open_link(config, image, **options)


class Accelerator:
    """A model on a link."""

    def __init__(self, config: AccelConfig, link: Link) -> None:
        self.config, self.link, self.shape = config, link, link.shape

    def check(self, job: Job) -> None:
        """Raises JobError for a job that cannot run, before anything is fed."""
        shape = self.shape
        if not job.prompt:
            raise JobError("the prompt is empty; give at least one token")
        for token in job.prompt:
            if not 0 <= token < shape.vocab:
                raise JobError(f"token id {token} is outside the vocabulary of {shape.vocab}")
        if job.start_position < 0:
            raise JobError(f"start-position must not be negative, but is {job.start_position}")
        if job.start_position + len(job.prompt) > shape.context:
            behind = f" behind {job.start_position} positions" if job.start_position else ""
            raise JobError(f"the prompt has {len(job.prompt)} tokens{behind}; the context holds {shape.context}")
        if job.max_new_tokens < 0:
            raise JobError(f"max-new-tokens must not be negative, but is {job.max_new_tokens}")
        if not 1 <= job.chunk <= self.config.columns:
            raise JobError(f"chunk must be 1 to {self.config.columns}, the preset's columns, not {job.chunk}")
        if not 0 <= job.slot < shape.sequences:
            raise JobError(f"slot {job.slot} does not exist; the image has {shape.sequences}")

    def generate(self, job: Job, on_token: Callable[[int], None] = lambda token: None) -> Generation:
        """Runs a job; `on_token` is called as tokens come. Greedy: the link chooses the largest logit.

        Raises JobError before anything runs, HardwareError when the run fails; what `on_token` raises ends the job.
        In every case the link can run the next job.
        """
        self.check(job)
        result = Generation(list(job.prompt))
        with closing(self.link.run(job)) as steps:
            for step in steps:
                result.logits += [row.astype(np.float32) for row in step.rows]
                if step.token is not None:
                    result.tokens.append(step.token)
                    on_token(step.token)
        if result.tokens and result.tokens[-1] in self.shape.eos:
            result.stopped = f"end id {result.tokens[-1]}"
        elif len(result.tokens) == job.max_new_tokens:
            result.stopped = f"{job.max_new_tokens} tokens reached"
        else:
            result.stopped = f"context of {self.shape.context} full"
        return result
