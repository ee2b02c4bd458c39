"""Scheduler for several jobs on one accelerator: which sequences share a pass, and when they join and leave."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from hw.contract.config import AccelConfig
from hw.contract.register_map import MAX_END_IDS
from sw.driver import Driver, Generation, next_position
from sw.errors import HardwareError, JobError
from sw.requests import Batch, Entry, Job
from sw.sampling import Sampler

__all__ = ["generate_batch"]


@dataclass(frozen=True)
class _Running:
    """A sequence and its KV slot."""

    number: int
    job: Job
    result: Generation
    sampler: Sampler | None
    config: AccelConfig

    @property
    def entry(self) -> Entry:
        """The entry for the next batch."""
        return Entry(self.result.tokens[-1], next_position(self.job, self.result), self.job.slot, self.list_at)

    @property
    def list_at(self) -> float | None:
        """The temperature of the shortlist that its next token is drawn from, if there is one."""
        return self.sampler and self.sampler.list_temperature(self.config)

    @property
    def needs_row(self) -> bool:
        """Whether its next token needs a row of logits."""
        return self.sampler is not None and self.list_at is None


def _choose(driver: Driver, running: Sequence[_Running]) -> None:
    """After a run of these: draw the tokens of those that sample, and drop logits that were not requested."""
    driver.draw([(r.result, r.sampler) for r in running])
    for r in running:
        r.result.lists.clear()
        if not r.job.all_logits:
            r.result.logits.clear()


def generate_batch(driver: Driver, jobs: Sequence[Job]) -> Iterator[tuple[int, Generation]]:
    """Run jobs together. Yields the number and the result of each job when it ends.

    Each result equals that of the job alone. The number of sequences is limited by columns and KV slots. A job joins on
    a free slot with a run of its own, which feeds its prompt and chooses its first token. Then all sequences decode in
    batches, each of which ends with the pass in which the first sequence ends. The scheduler chooses the slots, so a
    job must start at position 0. If a sequence uses sampling, or the sequences have more end ids than the accelerator
    has registers, a batch has one pass.

    Closing the iterator leaves the accelerator ready for the next run.

    Raises:
        JobError: a job cannot run; nothing was run.
        HardwareError: a run failed.
    """
    for number, job in enumerate(jobs):
        try:
            driver.check(job)
            if job.start_position:
                raise JobError(f"start-position and slot must be 0 in a batch, not {job.start_position} and {job.slot}")
        except JobError as error:
            raise JobError(f"job {number}: {error}") from error
    return _generate(driver, jobs)


def _generate(driver: Driver, jobs: Sequence[Job]) -> Iterator[tuple[int, Generation]]:
    shape, waiting = driver.shape, deque(enumerate(jobs))
    free = deque(range(min(driver.config.columns, shape.sequences)))
    running: list[_Running] = []
    while waiting or running:
        while waiting and free:
            number, job = waiting.popleft()
            joining = _Running(number, replace(job, slot=free.popleft()), Generation(list(job.prompt)),
                               job.sampling and Sampler(job.sampling), driver.config)
            first = replace(joining.job, max_new_tokens=min(1, job.max_new_tokens), end_ids=(),
                            last_logits=joining.needs_row, list_at=joining.list_at)
            driver.run(first, [joining.result])
            if len(joining.result.tokens) != first.max_new_tokens:
                raise HardwareError("the run of a prompt ended without a token: reset the accelerator and run again")
            _choose(driver, [joining])
            running.append(joining)
            yield from _leave(driver, running, free)
        if running:
            _decode(driver, running)
            yield from _leave(driver, running, free)


def _decode(driver: Driver, running: list[_Running]) -> None:
    """Run a batch until a sequence ends, or until the memory for its rows is full."""
    left = [min(r.job.max_new_tokens - len(r.result.tokens), driver.shape.context - r.entry.position)
            for r in running]
    rows = driver.link.plan.run_rows // len(running)
    drawn = any(r.sampler for r in running)
    end_ids = tuple(sorted({token for r in running for token in r.job.end_ids}))
    single = drawn or len(end_ids) > MAX_END_IDS
    before = [len(r.result.tokens) for r in running]
    batch = Batch(entries=tuple(r.entry for r in running), max_new_tokens=1 if single else min(*left, rows),
                  end_ids=() if single else end_ids,
                  all_logits=any(r.needs_row or r.job.all_logits for r in running),
                  guard=max(r.job.guard for r in running))
    driver.run(batch, [r.result for r in running])
    passes = {len(r.result.tokens) - made for r, made in zip(running, before, strict=True)}
    if len(passes) != 1 or 0 in passes:
        raise HardwareError("a batch ended in the middle of a pass: reset the accelerator and run again")
    _choose(driver, running)


def _leave(
    driver: Driver, running: list[_Running], free: deque[int]
) -> Iterator[tuple[int, Generation]]:
    """Remove the sequences that have ended and free their slots."""
    for r in list(running):
        r.result.stopped = driver.stopped(r.job, r.result)
        if r.result.stopped:
            running.remove(r)
            free.append(r.job.slot)
            yield r.number, r.result
