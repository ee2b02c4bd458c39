"""A model on a machine, for programs: the one file of the host, beside its command line, that knows of all backends.

    with Session("models/shakespeare-nano") as session:
        print(session.generate("ROMEO:", max_new_tokens=16).text)
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hw.contract.config import AccelConfig
from hw.contract.config import preset as preset_of
from sw.driver import Accelerator, Generation
from sw.errors import JobError
from sw.image import ModelImage
from sw.links.link import Link, RunStats
from sw.machine_thread import MachineThread
from sw.model_source import ModelSource, Packing
from sw.requests import Job
from sw.results import Completion, Score, Stream
from sw.sampling import Sampling
from sw.scheduler import generate_batch
from sw.scrub import Progress

if TYPE_CHECKING:
    from boards.board import AnyBoard

__all__ = ["BACKENDS", "DEFAULT_PRESET", "Session", "open_link"]

BACKENDS = ("golden", "sim", "mmap", "serial")
"""golden: NumPy; sim: the accelerator in Verilator; mmap: the one on this chip; serial: a board on a serial port."""

DEFAULT_PRESET = "tiny"


def open_link(backend: str, image: ModelImage, *, port: str = "auto", memory_seed: int = 0) -> Link:
    """The link of a backend on an image. `port` is for serial, `memory_seed` for sim.

    Raises JobError that lists the backends, HardwareError where no machine answers.
    """
    match backend:
        case "golden":
            from sim.links.golden import GoldenLink

            return GoldenLink(image)
        case "sim":
            from sim.links.simulated import SimulatedLink

            return SimulatedLink(image, memory_seed)
        case "mmap" | "serial":
            from sw.links.machine import MachineLink
            from sw.links.machines import connect

            return MachineLink(image, connect(backend, port))
    raise JobError(f"no backend named {backend!r}; there are: {', '.join(BACKENDS)}")


def _board(board: str | AnyBoard) -> AnyBoard:
    """By name, or as it is. Raises ConfigError: there is none."""
    if not isinstance(board, str):
        return board
    from boards import board as board_of

    return board_of(board)


class Session:
    """A model on a machine, which a thread of the session owns. Every method is for any thread, also for one in which
    an event loop runs; calls wait for each other. An interruption of a call ends what it asked for, and nothing else.

    The machine is made and gets the model with the first use, or by `build` and `load`. A session that is forgotten is
    closed.

    Attributes:
        config: of the machine.
        text: how texts become tokens.
    """

    def __init__(
        self,
        model: str | Path | ModelSource,
        *,
        backend: str | None = None,
        preset: str | AccelConfig | None = None,
        board: str | AnyBoard | None = None,
        simulate: bool = False,
        image: str | Path | None = None,
        context: int | None = None,
        sequences: int = 1,
        port: str = "auto",
        memory_seed: int = 0,
        packing: Packing = lambda region, size: None,
    ) -> None:
        """Opens a model and connects to a machine.

        Args:
            model: folder of a checkpoint, or a packed image, whose prompts are token ids.
            backend: one of BACKENDS; default: golden.
            preset: configuration of the machine, or its name; default: tiny.
            board: a board, or its name, in place of backend and preset.
            simulate: simulate the board from pin to pin, instead of looking for one.
            image: packed image of the checkpoint; default: pack it now, into a folder that goes with the session.
            context: positions of the KV memory; default: the model's own.
            sequences: sequences that have KV memory, up to the preset's columns decode together in `batch`.
            port: serial port of the board; auto: the first with a board.
            memory_seed: random timing of the simulated memory; 0: fixed latency.
            packing: is told how packing goes on.

        Raises CheckpointError, ConfigError, ImageError, JobError for what does not fit, HardwareError where no machine
        answers.
        """
        if board is not None and (backend is not None or preset is not None):
            raise JobError("a board brings its preset and backend: leave out preset and backend")
        if simulate and board is None:
            raise JobError("simulate needs a board: it says which board is simulated")
        if image is not None and context is not None:
            raise JobError("an image has a context of its own: leave out context or image")
        declared = None if board is None else _board(board)
        backend = declared.backend if declared else backend or "golden"
        if declared:
            self.config = declared.config
        else:
            self.config = preset if isinstance(preset, AccelConfig) else preset_of(preset or DEFAULT_PRESET)
        source = model if isinstance(model, ModelSource) else ModelSource.open(
            Path(model), None if image is None else Path(image))
        self.text = source.text
        self._compiled = simulate or backend == "sim"
        self._ready = False
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bitnet-fpga-")))
            packed = source.packed(self.config, folder, context, sequences, packing)
            if simulate and declared:
                from sim.links.board import SimulatedBoardLink

                self._link: Link = SimulatedBoardLink(packed, declared)
            else:
                self._link = open_link(backend, packed, port=port, memory_seed=memory_seed)
            self._machine = MachineThread(self._link)
            stack.callback(self._machine.close)
            self._accelerator = Accelerator(self._link)
            self._release = weakref.finalize(self, stack.pop_all().close)

    @property
    def stats(self) -> RunStats | None:
        """What was measured of all runs so far together; None before the first, and of the golden model."""
        return self._accelerator.total

    def check(self, job: Job) -> None:
        """Raises JobError for a job that cannot run; nothing is fed, and no machine is needed."""
        self._accelerator.check(job)

    def build(self) -> int:
        """Build id of the machine, as `Link.build`. A simulator is compiled in the calling thread, where an
        interruption ends it at once."""
        return self._link.build() if self._compiled else self._machine.call(self._link.build)

    def load(self, progress: Progress = lambda done, total: None) -> None:
        """Brings the model into the machine's memory, as `Link.load`."""
        self._machine.call(lambda: self._link.load(progress))
        self._ready = True

    def scrub(self, progress: Progress = lambda done, total: None) -> None:
        """Compares the model in the machine's memory with what was packed, as `Link.scrub`."""
        self._machine.call(lambda: self._link.scrub(progress))

    def _prepare(self) -> None:
        """What has to be before the first use."""
        if not self._ready:
            self.build()
            self.load()

    def job(
        self, prompt: str | Sequence[int] | Job, *, max_new_tokens: int = 32, sampling: Sampling | None = None,
        logits: bool = False,
    ) -> Job:
        """What is asked of the machine for a prompt: a text, or token ids, which are fed as they are. It ends at the
        tokens that end a text; those of an image alone are not known. A job is returned as it is.

        Raises JobError for a text without a tokenizer, or one that is not valid Unicode.
        """
        if isinstance(prompt, Job):
            return prompt
        if isinstance(prompt, str):
            if self.text.tokenizer is None:
                raise JobError("the model has no tokenizer.json: give token ids as the prompt")
            try:
                prompt.encode()
            except UnicodeEncodeError:
                raise JobError("the prompt is not valid Unicode") from None
            self.text.check_prompts()
            prompt = self.text.encode(prompt)
        return Job(prompt=tuple(prompt), max_new_tokens=max_new_tokens, chunk=self.config.columns,
                   end_ids=self.text.tokens.end_ids, all_logits=logits, sampling=sampling)

    def _completion(self, job: Job, result: Generation) -> Completion:
        rows = np.stack(result.logits) if job.all_logits else None
        if rows is not None:
            rows.flags.writeable = False
        return Completion(tuple(result.prompt_ids), tuple(result.tokens), self.text.decode(result.tokens),
                          result.stopped, rows)

    def generate(
        self, prompt: str | Sequence[int] | Job, *, max_new_tokens: int = 32, sampling: Sampling | None = None,
        logits: bool = False,
    ) -> Completion:
        """Continues a prompt, with the likeliest tokens, or as `sampling` says.

        Args:
            prompt: text, token ids, or a job, which decides all else.
            max_new_tokens: tokens to generate at most.
            sampling: how tokens are drawn; None: always the likeliest one.
            logits: keep the logits of all positions.

        Raises JobError before anything is fed, HardwareError when the run fails, SessionClosedError.
        """
        job = self.job(prompt, max_new_tokens=max_new_tokens, sampling=sampling, logits=logits)
        self.check(job)
        self._prepare()
        return self._completion(job, self._machine.call(lambda: self._accelerator.generate(job)))

    def stream(
        self, prompt: str | Sequence[int] | Job, *, max_new_tokens: int = 32, sampling: Sampling | None = None,
        logits: bool = False,
    ) -> Stream:
        """As `generate`; the text comes as it grows. The machine does not wait for the reader."""
        job = self.job(prompt, max_new_tokens=max_new_tokens, sampling=sampling, logits=logits)
        self.check(job)
        self._prepare()

        def run(tell: Callable[[int], None]) -> Completion:
            return self._completion(job, self._accelerator.generate(job, tell))

        return Stream(self._machine.begin(run), self.text)

    def batch(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Completion]]:
        """Jobs that decode together, as many at a time as there are columns and `sequences`; the number of each and its
        result, when it has ended. Each result is what the job gives alone (sw/scheduler.py)."""
        ended = generate_batch(self._accelerator, jobs)
        self._prepare()

        def run(tell: Callable[[tuple[int, Completion]], None]) -> None:
            for number, result in ended:
                tell((number, self._completion(jobs[number], result)))

        work = self._machine.begin(run)
        try:
            yield from work
        finally:
            work.stop()

    def score(self, text: str | Sequence[int]) -> Score:
        """How likely the model finds a text, or token ids: logits, log probabilities, perplexity.

        Raises JobError for a text of fewer than two tokens, or one that cannot be fed; else as `generate`.
        """
        job = self.job(text, max_new_tokens=0, logits=True)
        self.check(job)
        if len(job.prompt) < 2:
            raise JobError(f"a score needs two tokens at least, the text has {len(job.prompt)}")
        result = self.generate(job)
        assert result.logits is not None
        return Score.of(result.prompt_ids, result.logits)

    def close(self) -> None:
        """Ends what is under way and frees the machine. For any thread, at any time; may be called again. Whoever waits
        for something gets a SessionClosedError."""
        self._release()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
