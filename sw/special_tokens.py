"""Begin and end tokens of a checkpoint, collected from all of its files.

Four files may name them: `config.json` and `generation_config.json` by id, `tokenizer_config.json` and
`special_tokens_map.json` by text. In released checkpoints these files differ: a chat model ends its turns with a token
that its `config.json` does not have. So a run ends at every id that any file names. One warning lists the differences.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sw.errors import CheckpointError
from sw.model_config import read_json

__all__ = ["SpecialTokens", "read_special_tokens"]

ID_FILES = ("config.json", "generation_config.json")
TEXT_FILES = ("tokenizer_config.json", "special_tokens_map.json")
END_TEXTS = ("eos_token", "eot_token", "eom_token")
"""Names of tokens that end a text, a turn or a message."""

Find = Callable[[str], int | None]


@dataclass(frozen=True)
class SpecialTokens:
    """Special tokens according to all files.

    Attributes:
        end_ids: every token that ends a text, in ascending order.
        bos: the token that begins a text; None if no file names one.
        add_bos: whether `tokenizer_config.json` specifies that prompts begin with it; None if it is not specified.
        named_by: the file that names `bos`.
        differ: whether another file names another BOS token; a warning was issued.
    """

    end_ids: tuple[int, ...]
    bos: int | None = None
    add_bos: bool | None = None
    named_by: str = ""
    differ: bool = False


@dataclass(frozen=True)
class _Said:
    """A token that a file names; `shown` is how it names it."""

    file: str
    token: int
    shown: str


def _file(folder: Path, name: str) -> dict[str, Any]:
    return read_json(folder / name, constants=name != "config.json") if os.path.lexists(folder / name) else {}


def _ids(file: str, content: dict[str, Any], key: str, vocab: int) -> Iterator[_Said]:
    """Tokens of a key that holds an id or a list of ids. Warns of an id outside of the vocabulary."""
    value = content.get(key)
    for token in [] if value is None else value if isinstance(value, list) else [value]:
        if type(token) is not int:
            raise CheckpointError(f"{file}: {key} must be a token id or a list of them, not {str(value)[:80]!r}")
        if 0 <= token < vocab:
            yield _Said(file, token, str(token))
        else:
            warnings.warn(f"{file}: {key} {str(token)[:40]} is outside the vocabulary of {vocab} and is ignored",
                          stacklevel=2)


def _texts(file: str, content: dict[str, Any], keys: tuple[str, ...], find: Find, vocab: int) -> Iterator[_Said]:
    """Tokens under keys that hold a text, or an object with one, at the top or among the extra special tokens."""
    extra = content.get("extra_special_tokens")
    for key in keys:
        value = content.get(key) or (extra.get(key) if isinstance(extra, dict) else None)
        for one in [] if value is None else value if isinstance(value, list) else [value]:
            text = one.get("content") if isinstance(one, dict) else one
            if not isinstance(text, str) or not text.isprintable():  # a lone surrogate is not printable
                raise CheckpointError(f"{file}: {key} must be the text of a token, not {str(value)[:80]!r}")
            token = find(text)
            if token is None or not 0 <= token < vocab:
                warnings.warn(f"{file}: {key} {text[:80]!r} is not a token of this model and is ignored", stacklevel=2)
            else:
                yield _Said(file, token, f"{token} ({text[:80]!r})")


def _finder(content: dict[str, Any], find: Find) -> Find:
    """Ids of texts, by the tokenizer, or by what `tokenizer_config.json` lists of its added tokens."""
    added = content.get("added_tokens_decoder")
    listed: dict[str, int] = {}
    for key, value in added.items() if isinstance(added, dict) else ():
        if key.isascii() and key.isdigit() and len(key) < 10 and isinstance(value, dict):
            listed[str(value.get("content"))] = int(key)
    return lambda text: listed.get(text) if (token := find(text)) is None else token


def _told(said: list[_Said]) -> str:
    """Text for the tokens of each file, such as `config.json 1; generation_config.json 1, 2`."""
    files = dict.fromkeys(one.file for one in said)
    return "; ".join(f"{file} " + ", ".join(dict.fromkeys(one.shown for one in said if one.file == file))
                     for file in files)


def _differ(said: list[_Said]) -> bool:
    """Whether two files name different tokens."""
    return len({frozenset(one.token for one in said if one.file == file) for file in {one.file for one in said}}) > 1


def read_special_tokens(
    folder: Path, vocab: int, find: Find = lambda text: None, prefix: Sequence[int] = ()
) -> SpecialTokens:
    """Read the files of a checkpoint's folder. Missing files are ignored.

    `vocab` is the size of the vocabulary; `find` returns the id of a token's text, or None; `prefix` has the token ids
    that `tokenizer.json` adds before prompts. Warns of differences between files, and of tokens that do not exist.

    Raises:
        CheckpointError: a file is not a JSON object, or a value is not a token.
    """
    contents = {name: _file(folder, name) for name in (*ID_FILES, *TEXT_FILES)}
    find = _finder(contents["tokenizer_config.json"], find)
    ends: list[_Said] = []
    begins: list[_Said] = []
    for name in ID_FILES:
        ends += _ids(name, contents[name], "eos_token_id", vocab)
        begins += _ids(name, contents[name], "bos_token_id", vocab)
    for name in TEXT_FILES:
        ends += _texts(name, contents[name], END_TEXTS, find, vocab)
        begins += _texts(name, contents[name], ("bos_token",), find, vocab)
    add_bos = contents["tokenizer_config.json"].get("add_bos_token")
    if add_bos is not None and not isinstance(add_bos, bool):
        raise CheckpointError(f"tokenizer_config.json: add_bos_token must be true or false, not {str(add_bos)[:40]!r}")
    if _differ(ends):
        warnings.warn(f"the files name different end ids: {_told(ends)}; a text ends at any of them", stacklevel=2)
    # The tokenizer's own files come first: config.json is often copied from another model.
    ranked = [one for name in (*TEXT_FILES, *reversed(ID_FILES)) for one in begins if one.file == name]
    best = next((one for one in ranked if one.token in prefix[:1]), ranked[0] if ranked else None)
    if best and _differ(begins):
        used = f"that of {best.file} is used" if not prefix else f"tokenizer.json puts {prefix[0]} in front of prompts"
        warnings.warn(f"the files name different BOS tokens: {_told(begins)}; {used}", stacklevel=2)
    return SpecialTokens(
        tuple(sorted({one.token for one in ends})), best and best.token, add_bos, best.file if best else "",
        _differ(begins),
    )
