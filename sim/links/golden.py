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
from sw.requests import Batch, Entry, HeadAgain, Request
from sw.scrub import Progress, scrub
from sw.shortlist import Shortlist, logit_scale

__all__ = ["GoldenLink"]


class GoldenLink(Link):
    """Executes requests in NumPy. The mapped image file is its memory."""

    def __init__(self, image: ModelImage) -> None:
        super().__init__(image.plan)
        self.image, self.machine = image, GoldenMachine(image)
        self._kept: list[Array] = []  # rows of the columns that chose a token in the last pass

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
            yield Step([self._kept[n] for n in request.wanted], None)
            return
        self._kept = []
        if isinstance(request, Batch):
            yield from self._decode(request, request.entries, request.max_new_tokens)
            return
        job, fed, last = request, 0, len(request.prompt) - 1
        rows = []
        while fed <= last:
            part = job.prompt[fed : fed + job.chunk]
            positions = range(job.start_position + fed, job.start_position + fed + len(part))
            want = [job.all_logits or (fed + i == last and job.max_new_tokens > 0) for i in range(len(part))]
            given = self._pass(part, positions, [job.slot] * len(part), want)
            rows = [row for row in given if row is not None]
            fed += len(part)
            if fed <= last or not job.max_new_tokens:
                yield Step(rows, None)
        if job.max_new_tokens:
            self._kept = rows[-1:]
            first = Entry(argmax(rows[-1]), job.start_position + fed, job.slot)
            yield self._step(job, rows, first.token, 0)
            if not self._ends(request, first):
                yield from self._decode(request, (first,), job.max_new_tokens - 1)

    def _decode(self, request: Request, entries: tuple[Entry, ...], passes: int) -> Generator[Step, None, None]:
        """A token of each sequence per pass; the first one that ends, ends the run."""
        for _ in range(passes):
            tokens, positions, slots = zip(*((e.token, e.position, e.slot) for e in entries), strict=True)
            rows = [row for row in self._pass(tokens, positions, slots, [True] * len(tokens))
                    if row is not None]
            self._kept = rows
            entries = tuple(Entry(argmax(row), e.position + 1, e.slot) for e, row in zip(entries, rows, strict=True))
            for column, (entry, row) in enumerate(zip(entries, rows, strict=True)):
                yield self._step(request, [row], entry.token, column)
            if any(self._ends(request, entry) for entry in entries):
                return

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
    ) -> list[Array | None]:
        """A pass of the model, which `stop` ends between two packets: nothing of it is used then."""
        return self.machine.run_pass(tokens, positions, slots, want, self.stop.check)

    def _ends(self, request: Request, entry: Entry) -> bool:
        """Nothing follows: an end id, or no position where it could be fed."""
        return entry.token in request.end_ids or entry.position >= self.plan.shape.context
