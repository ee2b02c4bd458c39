"""Implementation of `bitnet-fpga generate`: check the options, open a session, print the generated text."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from hw.contract.config import AccelConfig
from sw.chat.messages import Message
from sw.chat.template import ChatTemplate
from sw.chat.tokens import encode_chat
from sw.checkpoint import Checkpoint
from sw.cli.progress import console
from sw.cli.prompts import Prompt, one_prompt, read_batch
from sw.cli.run_summary import Counted, summary
from sw.cli.sampling_options import OPTIONS, choose_sampling
from sw.cli.target import MachineOptions
from sw.errors import JobError
from sw.model_source import ModelSource, located
from sw.requests import Job
from sw.results import Completion
from sw.sampling import Sampling
from sw.session import DEFAULT_MEMORY, Session
from sw.split_head import guard_of
from sw.streams import discard, tell
from sw.whole_file import OutputError, output_target, whole_file

if TYPE_CHECKING:
    from boards.board import AnyBoard

__all__ = ["Options", "run"]


@dataclass(frozen=True, kw_only=True)
class Options(MachineOptions):
    """Options of the command line. `sw/cli/generate.py` has their names and describes them."""

    prompt: str | None
    prompt_ids: str | None
    max_new_tokens: int
    batch: Path | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    seed: int | None
    generation_config: bool
    as_json: bool
    chunk: int | None
    logits: Path | None
    stats: Path | None
    scrub: bool
    head: str = "full"
    chat: bool = False
    system: str | None = None
    chat_template: Path | None = None

    def target(self) -> tuple[AccelConfig, AnyBoard | None, str]:
        """Configuration, board and backend. Raises JobError for options that do not go together."""
        config, board, backend = super().target()
        if backend == "golden" and self.stats is not None:
            raise JobError("--stats counts clocks, which the golden model does not have: use --backend sim or a board")
        return config, board, backend

    def prompts(self, source: ModelSource, sampling: Sampling | None, config: AccelConfig) -> list[Prompt]:
        """The prompts that the options give. Raises JobError."""
        columns, codec = config.columns if self.chunk is None else self.chunk, source.text
        if self.batch is None:
            ids = self._chat_ids(source) if self.chat else one_prompt(self.prompt, self.prompt_ids, codec)
            return [Prompt(Job(prompt=ids, max_new_tokens=self.max_new_tokens, chunk=columns,
                               end_ids=codec.tokens.end_ids, all_logits=self.logits is not None, sampling=sampling))]
        if any(option is not None for option in (self.prompt, self.prompt_ids, self.logits)):
            raise JobError("--batch takes prompts from its file: leave out --prompt, --prompt-ids and --logits")
        return read_batch(self.batch, codec, self.max_new_tokens, columns, sampling)

    def check_chat(self) -> None:
        """Raises JobError for options of `--chat` without it, or with prompts that it does not apply to."""
        if not self.chat and (self.system is not None or self.chat_template is not None):
            raise JobError("--system and --chat-template apply to --chat: also give --chat")
        if self.chat and (self.prompt is None or self.prompt_ids is not None or self.batch is not None):
            raise JobError("--chat applies to --prompt: give a --prompt, and leave out --prompt-ids and --batch")

    def _chat_ids(self, source: ModelSource) -> tuple[int, ...]:
        """The prompt as the message of a user, behind the system prompt."""
        template = ChatTemplate.open(source.path, self.chat_template)
        system = [] if self.system is None else [Message("system", self.system)]
        return encode_chat(template, source.text, [*system, Message("user", self.prompt or "")])


def run(options: Options) -> None:
    """Run the command. Raises CheckpointError, ImageError, ConfigError, JobError, HardwareError, ToolError, OSError."""
    config, board, backend = options.target()
    options.check_chat()
    checkpoint = Checkpoint.open(located(options.checkpoint))
    sampling = choose_sampling(checkpoint.path, options.generation_config, options.temperature, options.top_k,
                               options.top_p, options.seed)
    source = ModelSource.of(checkpoint, options.image)
    guard = guard_of(options.head)
    prompts = [replace(one, job=replace(one.job, guard=guard)) for one in options.prompts(source, sampling, config)]
    jobs = [one.job for one in prompts]
    with ExitStack() as stack:
        inputs = [*checkpoint.files, *(path for path in (options.image, options.batch) if path is not None)]
        stats_file, logits_file = (
            None if path is None else stack.enter_context(whole_file(path, inputs))
            for path in (options.stats, options.logits)
        )
        if options.stats and options.logits and output_target(options.stats) == output_target(options.logits):
            raise OutputError(f"cannot write {options.logits}: --logits and --stats are the same file")
        session = stack.enter_context(Session(
            source, context=options.context, sequences=min(config.columns, len(jobs)), port=options.port,
            memory_seed=options.memory_seed, memory=options.memory or DEFAULT_MEMORY, progress=True,
            board=board, simulate=options.simulate, preset=None if board else config,
            backend=None if board else backend, head=options.head,
        ))
        for one in prompts:
            one.check(session)
        if options.scrub and backend == "golden":
            raise JobError(f"--scrub checks the memory of an accelerator, which {backend} does not have: use --backend "
                           "sim, serial or mmap")
        session.load()
        if options.scrub:
            _scrub(session, "before the first token")
        output = _Output(session, jobs, bool(stats_file or logits_file))
        if options.batch is not None:
            output.batch()
        else:
            result = output.one(options.as_json)
            if logits_file is not None:
                _save(logits_file, result)
        if options.scrub:
            _scrub(session, "after the run")
        if stats_file is not None and session.stats is not None:
            content = summary(config, output.counted, session.stats, session.head_counts)
            stats_file.write(json.dumps(content, indent=2).encode() + b"\n")


def _scrub(session: Session, when: str) -> None:
    """Check the image in the accelerator's memory. Raises HardwareError if it differs from the packed image."""
    with console().status("scrub") as status:
        session.scrub(lambda done, total: status.update(f"scrub: {done >> 20} of {total >> 20} MiB"))
    tell(f"scrub {when}: the image in memory is intact")


def _save(file: IO[bytes], result: Completion) -> None:
    """Write prompt ids, tokens and logits as .npz."""
    assert result.logits is not None
    np.savez(file, prompt_ids=np.array(result.prompt_ids, np.int64), tokens=np.array(result.tokens, np.int64),
             logits=result.logits)


class _Output:
    """Runs jobs and prints the generated text.

    If the reader of stdout closes it, BrokenPipeError ends the run, unless `keep_going` is set because a result file is
    being written.
    """

    def __init__(self, session: Session, jobs: list[Job], keep_going: bool) -> None:
        self._session, self._jobs, self._keep_going = session, jobs, keep_going
        self.counted = Counted()

    def one(self, as_json: bool) -> Completion:
        """Run the only job. Its text is printed as tokens arrive, or with `as_json` as one object at the end."""
        (job,) = self._jobs
        if as_json:
            result = self._session.generate(job)
            heads = self._session.head_counts
            self._line(job, result, asdict(heads) if heads else {})
        else:
            with self._session.stream(job) as pieces:
                for piece in pieces:
                    self._write(piece.text)
                result = pieces.result
            self._write("\n")
            tell(f"stopped: {result.stopped}")
        self.counted.add(result)
        return result

    def batch(self) -> None:
        """Run all jobs. Results are printed in the order of the jobs, each as soon as those before it are printed."""
        ended: dict[int, Completion] = {}
        printed = 0
        for number, result in self._session.batch(self._jobs):
            ended[number] = result
            self.counted.add(result)
            while printed in ended:
                self._line(self._jobs[printed], ended.pop(printed))
                printed += 1

    def _line(self, job: Job, result: Completion, counts: dict[str, int] | None = None) -> None:
        """Print a result as a JSON line, with the sampling settings if its tokens were drawn, and with these counts."""
        settings = asdict(job.sampling) if job.sampling else {}
        drawn = {name: settings[name] for name in OPTIONS if settings}
        self._write(json.dumps({"prompt_ids": result.prompt_ids, "tokens": result.tokens, "text": result.text,
                                "stopped": result.stopped, **drawn, **(counts or {})}) + "\n")

    def _write(self, text: str) -> None:
        """Print and flush. Raises BrokenPipeError unless `keep_going` is set."""
        try:
            print(text, end="", flush=True)
        except BrokenPipeError:
            if not self._keep_going:
                raise
            discard(sys.stdout)
