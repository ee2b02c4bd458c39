"""Implementation of `bitnet-fpga chat`: read lines, print answers as they are generated."""

from __future__ import annotations

import io
import json
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import replace

from sw.chat.conversation import Conversation, Reply
from sw.chat.messages import Message
from sw.chat.template import ChatTemplate
from sw.chat.tokens import encode_chat
from sw.checkpoint import Checkpoint
from sw.cli.chat_commands import ChatCommands, Turns
from sw.cli.chat_settings import ChatSettings
from sw.cli.generation import Options
from sw.errors import CheckpointError, JobError, Terminated
from sw.model_source import ModelSource, located
from sw.session import DEFAULT_MEMORY, Session
from sw.streams import tell

__all__ = ["run"]

NEAR_THE_END = 4
"""A full context is announced when less than this part of it, one in so many, is left, and an answer may not fit."""


def run(options: Options) -> None:
    """Run the command. Raises CheckpointError, ImageError, ConfigError, JobError, HardwareError, ToolError, OSError."""
    config, board, backend = options.target()
    checkpoint = Checkpoint.open(located(options.checkpoint))
    settings = ChatSettings(checkpoint.path, options.max_new_tokens, options.temperature, options.top_k, options.top_p,
                            options.seed)
    settings.check()
    source = ModelSource.of(checkpoint, options.image)
    _check_template(options, source)
    with ExitStack() as stack:
        session = stack.enter_context(Session(
            source, context=options.context, port=options.port, memory_seed=options.memory_seed,
            memory=options.memory or DEFAULT_MEMORY, progress=True, board=board, simulate=options.simulate,
            preset=None if board else config, backend=None if board else backend,
            chat_template=options.chat_template, head=options.head,
        ))
        session.load()
        tell(f"sampling: {settings.told()}")
        turns, conversation = Turns(), session.conversation(options.system)
        inputs = [*checkpoint.files, *(path for path in (options.image, options.chat_template) if path is not None)]
        commands = ChatCommands(conversation, settings, turns, inputs, lambda: session.stats)
        longest = conversation.context if options.image else checkpoint.config.max_position_embeddings
        _Chat(conversation, settings, commands, turns, longest, options.as_json).run()


def _check_template(options: Options, source: ModelSource) -> None:
    """Before anything is packed: that there is a template, and that it takes the system prompt and a message."""
    first = [] if options.system is None else [Message("system", options.system)]
    template = ChatTemplate.open(source.path, options.chat_template)
    encode_chat(template, source.text, [*first, Message("user", "a")])


def _read_line(prompt: str) -> str:
    """The next line of stdin without its end; asked for if there is a prompt. Raises EOFError at the end."""
    if prompt:
        return input(prompt)
    if not (line := sys.stdin.readline() if sys.stdin else ""):
        raise EOFError
    return line.rstrip("\r\n")


class _Chat:
    """The loop over turns. At a terminal, errors and Ctrl-C end a turn; in a pipe, the program."""

    def __init__(
        self, conversation: Conversation, settings: ChatSettings, commands: ChatCommands, turns: Turns, longest: int,
        as_json: bool,
    ) -> None:
        self._conversation, self._settings, self._commands, self._turns = conversation, settings, commands, turns
        self._longest, self._as_json = longest, as_json
        self._terminal = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()

    def run(self) -> None:
        """Until the end of the input, or /quit."""
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="surrogateescape")  # `Message` refuses what is not UTF-8
        prompt, mark = "", "\ufeff"
        interrupts = told = 0  # Ctrl-C since the last line; those of them that were answered
        if self._terminal:
            prompt = "> "
            tell(f"context of {self._conversation.context} positions; /help lists the commands")
            with suppress(ImportError):
                import readline  # noqa: F401 (editing and history of `input`)
        while True:
            try:
                if interrupts > told:
                    told = interrupts
                    print()
                    if interrupts > 1:
                        return
                    tell("Ctrl-C again, or Ctrl-D, ends the program")
                line = _read_line(prompt).removeprefix(mark)
                interrupts, told, mark = 0, 0, ""
                if not self._line(line):
                    return
            except EOFError:
                if self._terminal:
                    print()
                return
            except KeyboardInterrupt as error:  # at the prompt, or between a command and the next prompt
                if not self._terminal:
                    raise
                if isinstance(error, Terminated):
                    print()
                    raise
                interrupts += 1  # answered inside the `try`: the next Ctrl-C may come while the notice is printed

    def _line(self, line: str) -> bool:
        """Run a command or a turn. Returns whether to go on."""
        try:
            if line.startswith("/") and not line.startswith("//"):
                return self._commands.run(line)
            if line.strip():
                self._turn(line.removeprefix("/"))
        except (JobError, CheckpointError, OSError) as error:
            if not self._terminal or isinstance(error, BrokenPipeError):
                raise
            tell(f"error: {error}")
        return True

    def _turn(self, text: str) -> None:
        settings, number = self._settings, self._turns.turns
        sampling = settings.sampling()
        if sampling:
            sampling = replace(sampling, seed=(sampling.seed + number) % (1 << 64))
        start, stopped = time.monotonic(), ""
        try:
            with self._conversation.ask(text, max_new_tokens=settings.max_new_tokens, sampling=sampling) as reply:
                self._announce(reply)
                try:
                    stopped = self._print(reply, start)
                except KeyboardInterrupt as error:
                    if not self._terminal or isinstance(error, Terminated):
                        raise
                    stopped = "interrupted"
                    print(flush=True)
        except KeyboardInterrupt as error:  # before the answer began
            if not self._terminal or isinstance(error, Terminated):
                raise
            tell("\ninterrupted: the message is not kept")
            return
        self._count(reply, time.monotonic() - start)
        if self._terminal:
            self._status(reply, stopped, time.monotonic() - start)
        self._left()

    def _print(self, reply: Reply, start: float) -> str:
        """Print an answer as it comes, or one JSON object at its end. Returns why it stopped."""
        if not self._as_json:
            for piece in reply:
                print(piece.text, end="", flush=True)
            print(flush=True)
        result = reply.result
        self._turns.reused += result.reused
        if self._as_json:
            print(json.dumps({
                "text": reply.text, "stopped": result.stopped, "prompt_tokens": len(result.prompt_ids),
                "reused_tokens": result.reused, "new_tokens": len(result.tokens),
                "context": self._conversation.context, "seconds": round(time.monotonic() - start, 3),
            }), flush=True)
        return result.stopped

    def _count(self, reply: Reply, seconds: float) -> None:
        turns = self._turns
        turns.turns += 1
        turns.new_tokens += len(reply.tokens)
        turns.prompt_tokens += len(reply.prompt_ids)
        turns.seconds += seconds
        turns.used = len(reply.prompt_ids) + max(len(reply.tokens) - 1, 0)  # the last token is not fed

    def _status(self, reply: Reply, stopped: str, seconds: float) -> None:
        count = len(reply.tokens)
        tell(f"[{self._turns.used} of {self._conversation.context} positions; {count} tokens, {count / seconds:.1f} "
             f"tokens/s; {stopped}]")

    def _announce(self, reply: Reply) -> None:
        """Before an answer that may not fit."""
        left = self._conversation.context - len(reply.prompt_ids) + 1
        if self._is_near(left):
            tell(f"note: the context has room for {left} tokens of the answer")

    def _left(self) -> None:
        """After an answer: what can be done where the context is full, or soon will be."""
        left = max(self._conversation.context - self._turns.used, 0)
        if self._is_near(left):
            larger = f", or start with a larger --context, up to {self._longest}" * (
                self._longest > self._conversation.context)
            tell(f"note: {f'{left} positions of the context are' if left else 'no position of the context is'} left: "
                 f"begin again with /reset (/save FILE keeps the conversation){larger}")

    def _is_near(self, left: int) -> bool:
        return left < min(self._settings.max_new_tokens, self._conversation.context // NEAR_THE_END)
