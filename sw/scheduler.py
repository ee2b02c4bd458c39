"""Many jobs on one machine: which sequences share the stream of weights, and when they join and leave."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from hw.contract.register_map import MAX_END_IDS
from sw.driver import Accelerator, Generation, next_position
from sw.errors import HardwareError, JobError
from sw.requests import Batch, Entry, Job
from sw.sampling import Sampler

__all__ = ["generate_batch"]


@dataclass(frozen=True)
class _Running:
    """A sequence on its slot."""

    number: int
    job: Job
    result: Generation
    sampler: Sampler | None

    @property
    def entry(self) -> Entry:
        """How it goes on."""
        return Entry(self.result.tokens[-1], next_position(self.job, self.result), self.job.slot)

    def choose(self) -> None:
        """After a run: the token is drawn if it is to be, and rows of logits that nobody asked for are dropped."""
        if self.sampler and self.result.tokens:
            self.result.draw(self.sampler)
        if not self.job.all_logits:
            self.result.logits.clear()


def generate_batch(accelerator: Accelerator, jobs: Sequence[Job]) -> Iterator[tuple[int, Generation]]:
    """Runs jobs together; gives the number of each and its result when it has ended. Each result is what the job gives
    alone.

    As many sequences run as there are columns and KV slots. A job joins on a free slot with a run of its own that feeds
    its prompt and chooses its first token; then all decode in batches, each up to the pass in which the first of them
    ends. Slots are chosen here, so a job starts at position 0. While a sequence is among them whose tokens are drawn,
    or together they have more end ids than the machine has registers for, batches have one pass.

    Raises JobError before anything runs, HardwareError when a run fails. Closing the iterator leaves the machine ready.
    """
    for number, job in enumerate(jobs):
        try:
            accelerator.check(job)
            if job.start_position:
                raise JobError("it continues a sequence, and a batch chooses the slots of its sequences")
        except JobError as error:
            raise JobError(f"job {number}: {error}") from error
    return _generate(accelerator, jobs)


def _generate(accelerator: Accelerator, jobs: Sequence[Job]) -> Iterator[tuple[int, Generation]]:
    shape, waiting = accelerator.shape, deque(enumerate(jobs))
    free = deque(range(min(accelerator.config.columns, shape.sequences)))
    running: list[_Running] = []
    while waiting or running:
        while waiting and free:
            number, job = waiting.popleft()
            joining = _Running(number, replace(job, slot=free.popleft()), Generation(list(job.prompt)),
                               job.sampling and Sampler(job.sampling))
            first = replace(joining.job, max_new_tokens=min(1, job.max_new_tokens), end_ids=(),
                            last_logits=bool(job.sampling))
            accelerator.run(first, [joining.result])
            if len(joining.result.tokens) != first.max_new_tokens:
                raise HardwareError("a prompt was fed, but no token came")
            joining.choose()
            running.append(joining)
            yield from _leave(accelerator, running, free)
        if running:
            _decode(accelerator, running)
            yield from _leave(accelerator, running, free)


def _decode(accelerator: Accelerator, running: list[_Running]) -> None:
    """A batch up to the end of a sequence, or as long as its rows have room."""
    left = [min(r.job.max_new_tokens - len(r.result.tokens), accelerator.shape.context - r.entry.position)
            for r in running]
    rows = accelerator.link.plan.run_rows // len(running)
    drawn = any(r.sampler for r in running)
    end_ids = tuple(sorted({token for r in running for token in r.job.end_ids}))
    single = drawn or len(end_ids) > MAX_END_IDS
    before = [len(r.result.tokens) for r in running]
    batch = Batch(entries=tuple(r.entry for r in running), max_new_tokens=1 if single else min(*left, rows),
                  end_ids=() if single else end_ids, all_logits=drawn or any(r.job.all_logits for r in running))
    accelerator.run(batch, [r.result for r in running])
    passes = {len(r.result.tokens) - made for r, made in zip(running, before, strict=True)}
    if len(passes) != 1 or 0 in passes:
        raise HardwareError("a batch ended in the middle of a pass")
    for r in running:
        r.choose()


def _leave(
    accelerator: Accelerator, running: list[_Running], free: deque[int]
) -> Iterator[tuple[int, Generation]]:
    """The sequences that have ended give back their slots."""
    for r in list(running):
        r.result.stopped = accelerator.stopped(r.job, r.result)
        if r.result.stopped:
            running.remove(r)
            free.append(r.job.slot)
            yield r.number, r.result
