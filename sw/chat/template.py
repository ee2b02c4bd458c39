"""The chat template of a checkpoint: the Jinja2 program that makes one text of the messages of a conversation."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sw.chat.messages import Message
from sw.chat.rendering import render
from sw.errors import CheckpointError
from sw.file_kind import absence
from sw.model_config import read_json

__all__ = ["ChatTemplate"]

MAX_BYTES = 1_000_000
"""Largest template; the longest released ones have about 20,000 bytes."""

NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""Texts of tokens that a template may write by name, as transformers gives them."""


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template.

    Attributes:
        source: its text.
        origin: the file that it comes from.
        named: texts of the tokens that it may write by name.
    """

    source: str
    origin: str
    named: Mapping[str, str]

    @classmethod
    def open(cls, folder: Path | None, file: Path | None = None) -> ChatTemplate:
        """The template of a checkpoint's folder, or that of a file.

        `chat_template.jinja` comes before the `chat_template` of `tokenizer_config.json`, which is a text or a list of
        named ones; of these it is the one named default.

        Raises:
            CheckpointError: there is none, or it cannot be read.
        """
        config = _object(folder, "tokenizer_config.json")
        named = _named_tokens(folder, config)
        beside = folder and folder / "chat_template.jinja"
        if file is not None:
            return cls(_text(file), str(file), named)
        if beside and os.path.lexists(beside):
            return cls(_text(beside), str(beside), named)
        where = f"{folder}/tokenizer_config.json"
        source = _chosen(config.get("chat_template"), where)
        if source is None:
            raise CheckpointError(f"{folder or 'an image alone'} has no chat template: give one with --chat-template "
                                  "FILE (chat_template=FILE in Python), or use `generate`, which needs none")
        return cls(source, where, named)

    def render(self, *chats: Sequence[Message]) -> list[str]:
        """The text of each conversation, up to where the model's answer begins.

        Raises CheckpointError and JobError, as `sw.chat.rendering.render`.
        """
        known = [[self._known(message) for message in chat] for chat in chats]
        return render(self.source, self.origin, known, {"add_generation_prompt": True, **self.named})

    def _known(self, message: Message) -> Message:
        """`developer` is a newer name of `system`."""
        other = message.role == "developer" and "developer" not in self.source
        return replace(message, role="system") if other else message


def _object(folder: Path | None, name: str) -> dict[str, Any]:
    path = folder and folder / name
    return read_json(path, constants=True) if path and os.path.lexists(path) else {}


def _named_tokens(folder: Path | None, config: dict[str, Any]) -> dict[str, str]:
    """As transformers: `special_tokens_map.json` counts only where `tokenizer_config.json` does not list tokens."""
    older = {} if "added_tokens_decoder" in config else _object(folder, "special_tokens_map.json")
    values = {name: older.get(name, config.get(name)) for name in NAMED_TOKENS}
    texts = {name: value.get("content") if isinstance(value, dict) else value for name, value in values.items()}
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def _chosen(value: Any, where: str) -> str | None:
    """The template of a text, or of a list of named ones. Raises CheckpointError."""
    if value is None or isinstance(value, str):
        return value
    templates: dict[str, str] = {}
    for one in value if isinstance(value, list) else [value]:
        name, source = (one.get("name"), one.get("template")) if isinstance(one, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(source, str):
            raise CheckpointError(f"{where}: chat_template must be a text, or a list of objects name and template, "
                                  f"not {str(value)[:80]!r}")
        templates[name] = source
    if "default" not in templates:
        names = ", ".join(map(repr, templates))[:80] or "no chat template"
        raise CheckpointError(f"{where} has {names}, but none named default: write the one to use into a file and give "
                              "that with --chat-template")
    return templates["default"]


def _text(path: Path) -> str:
    """Text of a file. Raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"{path} {absence(path)}: give a file with a chat template")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise CheckpointError(f"{path} is larger than {MAX_BYTES} bytes: a chat template is a small text")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not a UTF-8 text: a chat template is a text for Jinja2") from error
