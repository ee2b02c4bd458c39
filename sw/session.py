"""Python API for a model on an accelerator. Only this module and the command line know all backends.

    with Session("models/shakespeare-nano") as session:
        print(session.generate("ROMEO:", max_new_tokens=16).text)
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hw.contract.config import AccelConfig
from hw.contract.preset_file import find_preset
from hw.tool import ending_tools
from sw.chat.conversation import MAX_NEW_TOKENS, Conversation
from sw.chat.messages import Message, checked_messages
from sw.chat.template import ChatTemplate
from sw.chat.tokens import encode_chat
from sw.cli.progress import bar, building, packing_bars
from sw.driver import Driver, Generation
from sw.errors import JobError
from sw.image import ModelImage
from sw.links.link import Link, RunStats
from sw.machine_thread import MachineThread, Work
from sw.model_source import ModelSource
from sw.requests import Job
from sw.results import Completion, Score, Stream
from sw.sampling import Sampling
from sw.scheduler import generate_batch
from sw.scrub import Progress
from sw.serve.engine import Engine
from sw.split_head import HeadCounts, check_guard, guard_of

if TYPE_CHECKING:
    from boards.board import AnyBoard

__all__ = ["BACKENDS", "DEFAULT_PRESET", "Session", "open_link"]

BACKENDS = ("golden", "sim", "mmap", "serial")
"""golden: NumPy; sim: accelerator in Verilator; mmap: accelerator on this chip; serial: board on a serial port."""

DEFAULT_PRESET = "tiny"
DEFAULT_MEMORY = "ideal"


def open_link(
    backend: str, image: ModelImage, *, port: str = "auto", memory_seed: int = 0, memory: str = DEFAULT_MEMORY,
) -> Link:
    """Open the link of a backend for an image. `port` is for serial, `memory_seed` and `memory` for sim.

    Raises:
        JobError: there is no such backend or memory, or the memory does not fit the accelerator.
        HardwareError: no accelerator answers.
    """
    match backend:
        case "golden":
            from sim.links.golden import GoldenLink

            return GoldenLink(image)
        case "sim":
            from sim.links.simulated import SimulatedLink

            return SimulatedLink(image, memory_seed, memory)
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
        guard: of the session's jobs (`sw.requests.Job`); 0 unless the head is split.
        text: tokenizer and special tokens.
    """

    def __init__(
        self,
        model: str | Path | ModelSource,
        *,
        backend: str | None = None,
        preset: str | Path | AccelConfig | None = None,
        board: str | AnyBoard | None = None,
        simulate: bool = False,
        image: str | Path | None = None,
        context: int | None = None,
        sequences: int = 1,
        port: str = "auto",
        memory_seed: int = 0,
        memory: str = DEFAULT_MEMORY,
        progress: bool = False,
        chat_template: str | Path | None = None,
        head: str = "full",
    ) -> None:
        """Open a model and connect to an accelerator.

        Args:
            model: folder of a checkpoint, its `org/name[@revision]` on the Hugging Face hub, or a packed image, whose
                prompts are token ids.
            backend: one of BACKENDS; default: golden.
            preset: configuration of the machine, its name, or a TOML file (docs/presets.md); default: that of the
                board, or tiny.
            board: a board, or its name, in place of a backend.
            simulate: simulate the whole board, instead of connecting to one.
            image: packed image of the checkpoint; default: pack it now, into a temporary folder.
            context: positions of the KV cache; default: the model's own.
            sequences: KV slots; up to the preset's columns decode together in `batch`.
            port: serial port of the board; auto: the first with a board.
            memory_seed: random timing of the simulated memory; 0: none.
            memory: the simulated memory: ideal, which has a fixed latency, or one of docs/memory-model.md.
            progress: show on stderr, or below the cell of a notebook, how far packing, building and loading are.
            chat_template: file with the template for `chat`; default: the checkpoint's own.
            head: full, or split: greedy tokens are chosen from half of the LM head's bytes, by a preset with candidates
                and an image with a high plane. Rows of logits and drawn tokens are the same, and so are greedy tokens
                but with a probability below 3.2e-9 (docs/numerics.md, 7.2).

        Raises:
            CheckpointError, ConfigError, ImageError, JobError: the arguments are invalid or do not fit together.
            HardwareError: no accelerator answers.
        """
        if board is not None and backend is not None:
            raise JobError("a board sets its backend: leave out backend or board")
        if simulate and board is None:
            raise JobError("simulate needs a board: name the board to simulate")
        if image is not None and context is not None:
            raise JobError("an image has a fixed context: leave out context or image")
        self.guard = guard_of(head)
        declared = None if board is None else _board(board)
        backend = declared.backend if declared else backend or "golden"
        wanted = preset if isinstance(preset, AccelConfig) or preset is None else find_preset(preset)
        if declared and wanted:
            declared = declared.with_config(wanted)
        self.config = declared.config if declared else wanted or find_preset(DEFAULT_PRESET)
        source = model if isinstance(model, ModelSource) else ModelSource.open(
            model, None if image is None else Path(image))
        self.text = source.text
        self._templates = (source.checkpoint and source.checkpoint.path,
                           None if chat_template is None else Path(chat_template))
        self._template: ChatTemplate | None = None
        self._compiled = simulate or backend == "sim"
        self._build_id: int | None = None
        self._ready = False
        self._progress = progress
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bitnet-fpga-")))
            with packing_bars(progress) as packing:
                packed = source.packed(self.config, folder, context, sequences, packing, self.guard != 0)
            check_guard(self.guard, packed.plan, str(packed.path))
            if simulate and declared:
                from sim.links.board import SimulatedBoardLink

                self._link: Link = SimulatedBoardLink(packed, declared)
            else:
                self._link = open_link(backend, packed, port=port, memory_seed=memory_seed, memory=memory)
            self._machine = MachineThread(self._link)
            stack.callback(self._machine.close)
            self._driver = Driver(self._link)
            self._release = weakref.finalize(self, stack.pop_all().close)

    @property
    def stats(self) -> RunStats | None:
        """Statistics of all runs so far together; None before the first run, and for the golden model."""
        return self._driver.total

    @property
    def head_counts(self) -> HeadCounts | None:
        """What was counted of the split head in all runs so far together; None if no run used it."""
        return self._driver.heads

    def check(self, job: Job) -> None:
        """Check a job without running it. Raises JobError if it cannot run. No accelerator is needed."""
        self._driver.check(job)

    def build(self) -> int:
        """Build ID of the accelerator, as `Link.build`. A simulator is compiled first, in the calling thread: an
        interruption ends that at once, and `close` soon.

        Raises as `Link.build`, and SessionClosedError.
        """
        if self._build_id is None:
            if self._compiled:
                with building(self._progress), ending_tools(self._machine.check_open):
                    self._build_id = self._link.build()
            else:
                self._build_id = self._machine.call(self._link.build)
        return self._build_id

    def load(self, progress: Progress | None = None) -> None:
        """Build the accelerator, as `build`, and load the model into its memory, as `Link.load`.

        `progress` is called with the bytes done and the total, in the session's own thread.
        """
        self.build()
        with bar("load", speed=True, shown=self._progress and progress is None) as shown:
            told = progress or shown

            def load() -> None:
                self._driver.cache.forget()  # loading may test the memory that holds it
                self._link.load(told)

            self._machine.call(load)
        self._ready = True

    def scrub(self, progress: Progress = lambda done, total: None) -> None:
        """Compare the model in the accelerator's memory with the packed image, as `Link.scrub`."""
        self._machine.call(lambda: self._link.scrub(progress))

    def _prepare(self) -> None:
        """Build and load before the first use."""
        if not self._ready:
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
                   end_ids=self.text.tokens.end_ids, all_logits=logits, guard=self.guard, sampling=sampling)

    def _completion(self, job: Job, result: Generation) -> Completion:
        rows = np.stack(result.logits) if job.all_logits else None
        if rows is not None:
            rows.flags.writeable = False
        return Completion(tuple(result.prompt_ids), tuple(result.tokens), self.text.decode(result.tokens),
                          result.stopped, rows, result.reused)

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
        return self._stream(self.job(prompt, max_new_tokens=max_new_tokens, sampling=sampling, logits=logits))

    def _stream(self, job: Job, reuse: bool = False) -> Stream:
        self.check(job)
        self._prepare()

        def run(tell: Callable[[int], None]) -> Completion:
            return self._completion(job, self._driver.generate(job, tell, reuse=reuse))

        return Stream(self._machine.begin(run), self.text)

    def chat_ids(self, messages: Sequence[Message | Mapping[str, Any]]) -> tuple[int, ...]:
        """Token ids of a conversation, by the checkpoint's chat template, up to where the model's answer begins.

        Messages are objects of Message, or mappings with `role` (system, user, assistant) and `content`. The text of a
        message never becomes a special token.

        Raises:
            CheckpointError: there is no template, or it is not usable.
            JobError: the messages are invalid, or the template refuses them.
        """
        if self._template is None:
            self._template = ChatTemplate.open(*self._templates)
        return encode_chat(self._template, self.text, checked_messages(messages))

    def chat(
        self, messages: Sequence[Message | Mapping[str, Any]], *, max_new_tokens: int = MAX_NEW_TOKENS,
        sampling: Sampling | None = None, logits: bool = False, slot: int = 0,
    ) -> Stream:
        """Answer a conversation, as `stream`; `.result` of the stream is the whole answer.

        Tokens at the beginning that the KV cache of the slot holds from an earlier call are not fed again, and have no
        logits. The result is the same. Raises the errors of `chat_ids` and `generate`.
        """
        return self._answer(self.chat_ids(messages), max_new_tokens, sampling, logits, slot)

    def _answer(
        self, ids: tuple[int, ...], max_new_tokens: int, sampling: Sampling | None, logits: bool = False, slot: int = 0
    ) -> Stream:
        job = self.job(ids, max_new_tokens=max_new_tokens, sampling=sampling, logits=logits)
        return self._stream(replace(job, slot=slot), reuse=True)

    def conversation(
        self, system: str | None = None, *, messages: Sequence[Message | Mapping[str, Any]] = (), slot: int = 0
    ) -> Conversation:
        """A conversation that keeps its messages: `.ask(text)` says something and returns the answer piece by piece.

        Args:
            system: system prompt, the first message.
            messages: messages behind it, for example of a conversation that goes on.
            slot: KV slot, below `sequences`. With a slot of its own, a conversation feeds no token twice.

        Raises:
            JobError: the messages are invalid.
        """
        first = [] if system is None else [Message("system", system)]
        return Conversation(self.chat_ids, partial(self._answer, slot=slot), self._driver.shape.context,
                            (*first, *checked_messages(messages)))

    def batch(
        self, prompts: Sequence[str | Sequence[int] | Job], *, max_new_tokens: int = 32,
        sampling: Sampling | None = None, logits: bool = False,
    ) -> Iterator[tuple[int, Completion]]:
        """Run prompts that decode together (sw/scheduler.py). Yields the number and the result of each when it ends.

        At most as many as columns and `sequences` run at a time. Each result equals that of `generate`, which has the
        same arguments and errors.
        """
        jobs = [self.job(prompt, max_new_tokens=max_new_tokens, sampling=sampling, logits=logits)
                for prompt in prompts]
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

    def engine(self, queue: int) -> tuple[Engine, Work[None, None]]:
        """An engine for several users (sw/serve/engine.py), at most `queue` of which wait; and its work, which ends
        with `Engine.close`, or when the session is closed. Until then the session runs nothing else."""
        self._prepare()
        engine, machine = Engine(self._driver, self.text, queue, self.guard), self._machine

        def serve(tell: Callable[[None], None]) -> None:
            tell(None)
            engine.serve(lambda: machine.closed)

        work = machine.begin(serve)
        next(work)  # from here on, the engine says to every request that it is closed
        return engine, work

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
