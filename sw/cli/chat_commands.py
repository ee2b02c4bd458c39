"""Commands of `bitnet-fpga chat`: lines that begin with a slash."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sw.chat.conversation import Conversation
from sw.chat.messages import checked_messages
from sw.cli.chat_settings import ChatSettings
from sw.errors import CheckpointError, JobError
from sw.file_kind import read_small
from sw.links.link import RunStats
from sw.model_config import parse_json
from sw.streams import tell
from sw.whole_file import whole_file

__all__ = ["ChatCommands", "Turns"]

MAX_BYTES = 8_000_000
"""Largest file of a conversation."""

HELP = """\
/reset             forget the conversation, but for the system prompt
/save FILE         write the conversation to a file
/load FILE         continue with the conversation in a file
/stats             tokens, positions and speed so far
/set               show the settings
/set NAME VALUE    change temperature, top-k, top-p, seed or max-new-tokens
/help              this list
/quit              end, as Ctrl-D does
//TEXT             say a text that begins with /
Ctrl-C             end an answer"""


@dataclass
class Turns:
    """Sums over all answers so far. `used` is how many positions the conversation takes now."""

    turns: int = 0
    new_tokens: int = 0
    prompt_tokens: int = 0
    reused: int = 0
    seconds: float = 0.0
    used: int = 0


class ChatCommands:
    """Executes commands. `inputs` are files that `/save` must not overwrite."""

    def __init__(
        self, conversation: Conversation, settings: ChatSettings, turns: Turns, inputs: Sequence[Path],
        stats: Callable[[], RunStats | None],
    ) -> None:
        self._conversation, self._settings, self._turns = conversation, settings, turns
        self._inputs, self._stats = inputs, stats

    def run(self, line: str) -> bool:
        """Execute a line that begins with a slash. Returns whether the program goes on.

        Raises JobError, CheckpointError and OSError; nothing is changed then.
        """
        name, _, rest = line.strip().partition(" ")
        match name, rest.split():
            case ("/quit" | "/exit"), []:
                return False
            case "/help", []:
                tell(HELP)
            case "/reset", []:
                self._conversation.reset()
                self._turns.used = 0
                tell("the conversation begins again")
            case "/stats", []:
                tell(self._statistics())
            case "/set", []:
                tell(self._settings.told())
            case "/set", [setting, value]:
                self._settings.set(setting, value)
                tell(self._settings.told())
            case "/save", [_, *_]:
                self._save(Path(rest.strip()))
            case "/load", [_, *_]:
                self._load(Path(rest.strip()))
            case _:
                raise JobError(f"{line.strip()[:40]!r} is not a command: /help lists them, and // begins a text with /")
        return True

    def _save(self, path: Path) -> None:
        messages = [asdict(message) for message in self._conversation.messages]
        with whole_file(path, self._inputs) as file:
            file.write(json.dumps({"messages": messages}, indent=2, ensure_ascii=False).encode() + b"\n")
        tell(f"{len(messages)} messages written to {path}")

    def _load(self, path: Path) -> None:
        content = parse_json(read_small(path, MAX_BYTES), str(path))
        given = content.get("messages")
        if not isinstance(given, list):
            raise CheckpointError(f"{path} has no list of messages: give a file that /save wrote")
        try:
            messages = checked_messages(given)
        except JobError as error:
            raise JobError(f"{path}: {error}") from error
        self._conversation.reset(messages)
        self._turns.used = 0
        tell(f"{len(messages)} messages read from {path}")

    def _statistics(self) -> str:
        turns = self._turns
        speed = turns.new_tokens / turns.seconds if turns.seconds else 0.0
        lines = [
            f"{turns.used} of {self._conversation.context} positions used",
            f"{turns.turns} answers, {turns.new_tokens} new tokens, {speed:.1f} tokens/s",
            f"{turns.prompt_tokens} prompt tokens, {turns.reused} of them already in the KV cache",
        ]
        total = self._stats()
        if total is not None:
            lines.append(f"{total.cycles} clocks in {total.runs} runs of the accelerator")
        return "\n".join(lines)
