"""Runs that are measured: a simulated accelerator behind a filled cache, and the requests that it executes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import numpy as np

from sim.golden.machine import GoldenMachine
from sim.links.simulated import SimulatedLink
from sim.profile.cache import fill_cache
from sw.driver import Driver
from sw.image import ModelImage
from sw.links.link import RunStats
from sw.model_plan import ModelPlan
from sw.requests import Batch, Entry, Job, Request

__all__ = ["opened", "prompt_of", "run", "token_at", "tokens_at"]

SEED = 1
"""Of the cached keys and values, and of the tokens that are fed."""


@contextmanager
def opened(image: ModelImage, memory: str, cached: int) -> Iterator[SimulatedLink]:
    """The accelerator with an image in a memory, and random keys and values at the first positions of all slots.

    Raises JobError if there is no such memory, or it does not fit the ports; HardwareError or ToolError if the
    simulator cannot be built or run.
    """
    with closing(SimulatedLink(image, memory=memory)) as link:
        link.build()
        machine = GoldenMachine(image)
        fill_cache(machine, cached, SEED)
        link.write_memory(link.layout.kv, machine.kv.tobytes())
        yield link


def run(link: SimulatedLink, request: Request) -> RunStats:
    """Execute a request. Raises JobError for a job that cannot run, and HardwareError if it fails."""
    if isinstance(request, Job):
        Driver(link).check(request)
    for _ in link.run(request):
        pass
    assert link.stats is not None
    return link.stats


def prompt_of(plan: ModelPlan, length: int, position: int = 0) -> Job:
    """A random prompt from a position on, in chunks of all columns, and the first new token."""
    tokens = np.random.default_rng(SEED).integers(0, plan.shape.vocab, length)
    return Job(prompt=tuple(int(token) for token in tokens), start_position=position, max_new_tokens=1,
               chunk=plan.config.columns)


def token_at(plan: ModelPlan, position: int) -> Job:
    """One token at a position."""
    return Job(prompt=prompt_of(plan, 1).prompt, start_position=position, max_new_tokens=1, chunk=1)


def tokens_at(plan: ModelPlan, position: int, sequences: int) -> Batch:
    """The same of so many sequences in one pass."""
    (token,) = prompt_of(plan, 1).prompt
    return Batch(entries=tuple(Entry(token, position, slot) for slot in range(sequences)), max_new_tokens=1)
