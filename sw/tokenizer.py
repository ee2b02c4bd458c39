"""The tokenizer of a checkpoint, `tokenizer.json`. Whatever the library makes of a damaged one is one sentence."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tokenizers import Tokenizer

from sw.model_config import CheckpointError

__all__ = ["CheckpointTokenizer"]

MAX_BYTES = 32_000_000
"""Largest tokenizer.json; that of 128,000 tokens has 9 to 17 MB."""

T = TypeVar("T")


@contextmanager
def _without_stderr() -> Iterator[None]:
    """The library's Rust half reports a panic on descriptor 2 before Python hears of it."""
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
        """Raises CheckpointError if the file is no tokenizer."""
        self._path = path
        if path.stat().st_size > MAX_BYTES:
            raise CheckpointError(f"{path} is larger than {MAX_BYTES} bytes")
        self._tokenizer = self._call(lambda: Tokenizer.from_file(str(path)))
        self._call(self._tokenizer.no_truncation)
        self._call(self._tokenizer.no_padding)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, which must be valid Unicode."""
        return self._call(lambda: self._tokenizer.encode(text).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids; ids that the tokenizer does not know are left out."""
        return self._call(lambda: self._tokenizer.decode(list(ids)))

    def _call(self, function: Callable[[], T]) -> T:
        """The library raises bare Exception, and its panics are BaseException."""
        try:
            with _without_stderr():
                return function()
        except (KeyboardInterrupt, MemoryError):
            raise
        except BaseException as error:
            raise CheckpointError(f"{self._path} is not usable: {str(error)[:200]}") from error
