"""Link to the golden model. It runs the token loop that the accelerator runs in hardware."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from hw.contract.register_map import LogitsMode
from sim.golden.logits import argmax
from sim.golden.machine import GoldenMachine, float_field
from sim.golden.number import Array
from sim.golden.shortlist import record
from sw.errors import HardwareError
from sw.image import ModelImage
from sw.links.link import Link, RunStats, Step
from sw.requests import Batch, Entry, HeadAgain, Job, Request
from sw.scrub import Progress, scrub
from sw.shortlist import Shortlist, logit_scale
from sw.split_head import HeadCounts

__all__ = ["GoldenLink"]


class GoldenLink(Link):
    """Executes requests in NumPy. The mapped image file is its memory."""

    def __init__(self, image: ModelImage) -> None:
        super().__init__(image.plan)
        self.image, self.machine = image, GoldenMachine(image)
        self._kept: list[int] = []  # columns that chose a token in the last pass
        self._heads = HeadCounts()

    def build(self) -> int:
        """Build ID of the configuration, because the model computes the same as an accelerator of it."""
        return self.config.build_id

    def load(self, progress: Progress) -> None:
        """Does nothing: the image is where the model reads it."""

    def scrub(self, progress: Progress) -> None:
        """Compares the regions of the file with the CRCs of its table, which says whether it has changed since."""
        scrub(lambda address, size: self.image.memory[address : address + size], self.image, 0, progress)

    @property
    def stats(self) -> RunStats | None:
        """None: the model has no clock."""
        return None

    def close(self) -> None:
        """Do nothing: the model has no process or device."""

    def run(self, request: Request) -> Generator[Step, None, None]:
        """A prompt in chunks, then token by token. A chosen token is fed only if another may follow."""
        if isinstance(request, HeadAgain):
            if len(self._kept) != request.columns:
                raise HardwareError(f"{len(self._kept)} columns chose a token in the last pass, not {request.columns}")
            yield Step([self.machine.lm_head(self._kept[n]) for n in request.wanted], None)
            return
        self._kept, self._heads = [], HeadCounts()
        if isinstance(request, Batch):
            yield from self._decode(request, request.entries, request.max_new_tokens)
        else:
            yield from self._job(request)
        if request.reads_high_plane:
            yield Step([], None, heads=self._heads)

    def _job(self, job: Job) -> Generator[Step, None, None]:
        fed, last, column = 0, len(job.prompt) - 1, 0
        rows: list[Array] = []
        while fed <= last:
            part = job.prompt[fed : fed + job.chunk]
            positions = range(job.start_position + fed, job.start_position + fed + len(part))
            column, full = len(part) - 1, job.max_new_tokens > 0 and not job.reads_high_plane
            want = [job.all_logits or (fed + i == last and full) for i in range(len(part))]
            rows = self._pass(part, positions, [job.slot] * len(part), want)
            fed += len(part)
            if fed <= last or not job.max_new_tokens:
                yield Step(rows, None)
        if job.max_new_tokens:
            self._kept = [column]
            token = self._split(job, column) if job.reads_high_plane else argmax(rows[-1])
            first = Entry(token, job.start_position + fed, job.slot)
            yield self._step(job, rows, first.token, 0)
            if not self._ends(job, first):
                yield from self._decode(job, (first,), job.max_new_tokens - 1)

    def _decode(self, request: Job | Batch, entries: tuple[Entry, ...], passes: int) -> Generator[Step, None, None]:
        """A token of each sequence per pass; the first one that ends, ends the run."""
        split = request.reads_high_plane  # of one sequence
        for _ in range(passes):
            tokens, positions, slots = zip(*((e.token, e.position, e.slot) for e in entries), strict=True)
            rows = self._pass(tokens, positions, slots, [not split] * len(tokens))
            self._kept = list(range(len(tokens)))
            chosen = [self._split(request, 0)] if split else [argmax(row) for row in rows]
            entries = tuple(Entry(token, e.position + 1, e.slot) for e, token in zip(entries, chosen, strict=True))
            for column, entry in enumerate(entries):
                yield self._step(request, rows[column : column + 1], entry.token, column)
            if any(self._ends(request, entry) for entry in entries):
                return

    def _split(self, request: Job | Batch, column: int) -> int:
        """The token of a column from the high plane, or from the whole head if that does not settle it."""
        choice = self.machine.split_head(column, request.guard)
        self._heads += HeadCounts(choice.listed, choice.rescored, int(choice.token is None))
        return argmax(self.machine.lm_head(column)) if choice.token is None else choice.token

    def _step(self, request: Request, rows: list[Array], token: int, column: int) -> Step:
        """A token, and of the rows up to the one that it was chosen from what the request wants."""
        if request.logits_mode is LogitsMode.NONE:
            return Step([], token)
        if request.logits_mode is not LogitsMode.BEST:
            return Step(rows, token)
        temperature = request.temperatures[column]
        content = record(rows[-1], float_field(logit_scale(temperature)))
        return Step([], token, (Shortlist.from_record(content, self.plan.shape.vocab, temperature),))

    def _pass(
        self, tokens: Sequence[int], positions: Sequence[int], slots: Sequence[int], want: Sequence[bool]
    ) -> list[Array]:
        """A pass of the model, which `stop` ends between two packets: nothing of it is used then. Returns the rows that
        are wanted."""
        self._kept = []
        rows = self.machine.run_pass(tokens, positions, slots, want, self.stop.check)
        return [row for row in rows if row is not None]

    def _ends(self, request: Request, entry: Entry) -> bool:
        """Nothing follows: an end id, or no position where it could be fed."""
        return entry.token in request.end_ids or entry.position >= self.plan.shape.context
