"""The tokenizer of a checkpoint, `tokenizer.json`. All errors of the library become a CheckpointError."""

from __future__ import annotations

import codecs
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from tokenizers import Tokenizer

from sw.errors import CheckpointError
from sw.file_kind import read_small

__all__ = ["CheckpointTokenizer"]

MAX_BYTES = 32_000_000
"""Largest tokenizer.json; that of 128,000 tokens has 9 to 17 MB."""

_BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")

_DESCRIPTOR_2 = threading.RLock()

T = TypeVar("T")


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Discard output on descriptor 2: the library's Rust code prints a panic there before it raises an exception.

    One thread at a time: a second one would keep /dev/null as the descriptor to restore.
    """
    with _DESCRIPTOR_2:
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(nowhere)
            os.close(kept)


class CheckpointTokenizer:
    """Text to token ids and back, as Hugging Face does it by default: without truncation and padding."""

    def __init__(self, path: Path) -> None:
        """Raises CheckpointError if the file is not a valid tokenizer."""
        self._path = path
        content = read_small(path, MAX_BYTES)
        self._tokenizer = self._call(lambda: Tokenizer.from_buffer(content.removeprefix(codecs.BOM_UTF8)))
        self._call(self._tokenizer.no_truncation)
        self._call(self._tokenizer.no_padding)

    @cached_property
    def size(self) -> int:
        """One more than the largest id."""
        return 1 + max(self._call(lambda: self._tokenizer.get_vocab(with_added_tokens=True)).values(), default=-1)

    @cached_property
    def _around(self) -> tuple[list[int], list[int]]:
        """Token ids that the tokenizer adds before and after a text."""
        encoded = self._call(lambda: self._tokenizer.encode("a"))
        ids, own = encoded.ids, [number for number, added in enumerate(encoded.special_tokens_mask) if not added]
        return (ids[: own[0]], ids[own[-1] + 1 :]) if own else (ids, [])

    @property
    def prefix(self) -> list[int]:
        """Tokens that are put in front of every text."""
        return self._around[0]

    @property
    def suffix(self) -> list[int]:
        """Tokens that are put behind every text."""
        return self._around[1]

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Token ids of a text, which must be valid Unicode; with what is put around it, or the text alone."""
        return self._call(lambda: self._tokenizer.encode(text, add_special_tokens=special).ids)

    def spans(self, text: str) -> list[tuple[int, int, int]]:
        """Token ids of the text alone, each with where its characters begin and end in the text."""
        def encode() -> list[tuple[int, int, int]]:
            encoded = self._tokenizer.encode(text, add_special_tokens=False)
            return [(token, *span) for token, span in zip(encoded.ids, encoded.offsets, strict=True)]

        return self._call(encode)

    @cached_property
    def added(self) -> dict[int, tuple[str, bool]]:
        """Tokens that are found in a text as a whole, before it is split: text, and whether the file calls it special.
        """
        found = self._call(self._tokenizer.get_added_tokens_decoder)
        return {token: (one.content, one.special) for token, one in found.items()}

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, without special tokens; ids that the tokenizer does not know are left out."""
        return self._call(lambda: self._tokenizer.decode(list(ids)))

    def token_id(self, text: str) -> int | None:
        """The id of a token of that text; None if there is none."""
        return self._call(lambda: self._tokenizer.token_to_id(text))

    def token_text(self, token: int) -> str | None:
        """The text of a token; None if there is none of that id."""
        return self._call(lambda: self._tokenizer.id_to_token(token))

    def is_byte(self, token: int) -> bool:
        """Whether a token stands for one byte of a character, `<0xE4>`, as tokenizers with byte fallback have them."""
        return bool(_BYTE.fullmatch(self.token_text(token) or ""))

    def _call(self, function: Callable[[], T]) -> T:
        """The library raises bare Exception, and its panics are BaseException."""
        try:
            with _without_stderr():
                return function()
        except (KeyboardInterrupt, MemoryError):
            raise
        except BaseException as error:
            raise CheckpointError(f"{self._path} is not usable: {str(error)[:200]}") from error
