"""Python API for a model on an accelerator. Only this module and the command line know all backends.

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
from sw.driver import Driver, Generation
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
"""golden: NumPy; sim: accelerator in Verilator; mmap: accelerator on this chip; serial: board on a serial port."""

DEFAULT_PRESET = "tiny"


def open_link(backend: str, image: ModelImage, *, port: str = "auto", memory_seed: int = 0) -> Link:
    """Open the link of a backend for an image. `port` is for serial, `memory_seed` for sim.

    Raises:
        JobError: there is no such backend.
        HardwareError: no accelerator answers.
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
    raise JobError(f"there is no backend {backend!r}: use {', '.join(BACKENDS)}")


def _board(board: str | AnyBoard) -> AnyBoard:
    """By name, or as it is. Raises ConfigError: there is none."""
    if not isinstance(board, str):
        return board
    from boards import board as board_of

    return board_of(board)


class Session:
    """A model on an accelerator. A thread of the session owns the link.

    Every method may be called from any thread, also from one that runs an event loop; calls run one after the other.
    Interrupting a call ends only that call. The first use builds the simulator, if there is one, and loads the model;
    `build` and `load` do it earlier. Deleting a session closes it.

    Attributes:
        config: configuration of the accelerator.
        text: tokenizer and special tokens.
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
        """Open a model and connect to an accelerator.

        Args:
            model: folder of a checkpoint, or a packed image, whose prompts are token ids.
            backend: one of BACKENDS; default: golden.
            preset: configuration of the machine, or its name; default: tiny.
            board: a board, or its name, in place of backend and preset.
            simulate: simulate the whole board, instead of connecting to one.
            image: packed image of the checkpoint; default: pack it now, into a temporary folder.
            context: positions of the KV cache; default: the model's own.
            sequences: KV slots; up to the preset's columns decode together in `batch`.
            port: serial port of the board; auto: the first with a board.
            memory_seed: random timing of the simulated memory; 0: fixed latency.
            packing: called with the progress of packing.

        Raises:
            CheckpointError, ConfigError, ImageError, JobError: the arguments are invalid or do not fit together.
            HardwareError: no accelerator answers.
        """
        if board is not None and (backend is not None or preset is not None):
            raise JobError("a board sets preset and backend: leave out preset and backend, or board")
        if simulate and board is None:
            raise JobError("simulate needs a board: name the board to simulate")
        if image is not None and context is not None:
            raise JobError("an image has a fixed context: leave out context or image")
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
            self._driver = Driver(self._link)
            self._release = weakref.finalize(self, stack.pop_all().close)

    @property
    def stats(self) -> RunStats | None:
        """Statistics of all runs so far together; None before the first run, and for the golden model."""
        return self._driver.total

    def check(self, job: Job) -> None:
        """Check a job without running it. Raises JobError if it cannot run. No accelerator is needed."""
        self._driver.check(job)

    def build(self) -> int:
        """Build ID of the accelerator, as `Link.build`. A simulator is compiled in the calling thread, so that an
        interruption ends it at once."""
        return self._link.build() if self._compiled else self._machine.call(self._link.build)

    def load(self, progress: Progress = lambda done, total: None) -> None:
        """Load the model into the accelerator's memory, as `Link.load`."""
        self._machine.call(lambda: self._link.load(progress))
        self._ready = True

    def scrub(self, progress: Progress = lambda done, total: None) -> None:
        """Compare the model in the accelerator's memory with the packed image, as `Link.scrub`."""
        self._machine.call(lambda: self._link.scrub(progress))

    def _prepare(self) -> None:
        """Build and load before the first use."""
        if not self._ready:
            self.build()
            self.load()

    def job(
        self, prompt: str | Sequence[int] | Job, *, max_new_tokens: int = 32, sampling: Sampling | None = None,
        logits: bool = False,
    ) -> Job:
        """The job for a prompt: a text, or token ids, which are fed unchanged. A job is returned unchanged.

        It ends at the end ids of the checkpoint. An image alone has none.

        Raises:
            JobError: the prompt is a text, but there is no tokenizer, or it is not valid Unicode.
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
        """Continue a prompt, with the likeliest tokens or by sampling.

        Args:
            prompt: text, token ids, or a job; a job overrides the other arguments.
            max_new_tokens: most tokens to generate.
            sampling: sampling settings; None: always the likeliest token.
            logits: return the logits of all positions.

        Raises:
            JobError: the job cannot run; nothing was fed.
            HardwareError: the run failed.
            SessionClosedError: the session is closed.
        """
        job = self.job(prompt, max_new_tokens=max_new_tokens, sampling=sampling, logits=logits)
        self.check(job)
        self._prepare()
        return self._completion(job, self._machine.call(lambda: self._driver.generate(job)))

    def stream(
        self, prompt: str | Sequence[int] | Job, *, max_new_tokens: int = 32, sampling: Sampling | None = None,
        logits: bool = False,
    ) -> Stream:
        """As `generate`, but the text is returned piece by piece. A slow reader does not delay the accelerator."""
        job = self.job(prompt, max_new_tokens=max_new_tokens, sampling=sampling, logits=logits)
        self.check(job)
        self._prepare()

        def run(tell: Callable[[int], None]) -> Completion:
            return self._completion(job, self._driver.generate(job, tell))

        return Stream(self._machine.begin(run), self.text)

    def batch(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Completion]]:
        """Run jobs that decode together (sw/scheduler.py). Yields the number and the result of each job when it ends.

        At most as many jobs as columns and `sequences` run at a time. Each result equals that of the job alone.
        """
        ended = generate_batch(self._driver, jobs)
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
        """Score a text or token ids: logits, log probabilities, perplexity.

        Raises JobError if there are fewer than two tokens, or they cannot be fed; else the errors of `generate`.
        """
        job = self.job(text, max_new_tokens=0, logits=True)
        self.check(job)
        if len(job.prompt) < 2:
            raise JobError(f"a score needs at least two tokens, but the text has {len(job.prompt)}: use a longer text")
        result = self.generate(job)
        assert result.logits is not None
        return Score.of(result.prompt_ids, result.logits)

    def close(self) -> None:
        """End running calls and release the accelerator. May be called from any thread, and again.

        Calls that were waiting raise SessionClosedError.
        """
        self._release()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
