"""Output files that are there whole or not at all. This file is the only one that creates files for a user."""

from __future__ import annotations

import fcntl
import io
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["OutputError", "output_target", "whole_file"]


class OutputError(OSError):
    """A file that cannot be written, in one sentence."""


def output_target(path: Path, inputs: Iterable[Path] = ()) -> Path:
    """The file that an output path means, its links followed. Nothing is created.

    Raises OutputError if it is one of the inputs, a standard stream, no regular file, read-only, or in no folder.
    """
    try:
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise OutputError(f"cannot write {path}: it is a folder")
        if not target.parent.is_dir():
            raise OutputError(f"cannot write {path}: {target.parent} is not a folder")
        if target.is_symlink():
            raise OutputError(f"cannot write {path}: it is a link that leads nowhere")
        if target.exists():
            if not target.is_file():
                raise OutputError(f"cannot write {path}: it is not a regular file")
            if not os.access(target, os.W_OK):
                raise OutputError(f"cannot write {path}: it is read-only")
            if any(os.path.samestat(target.stat(), os.fstat(stream)) for stream in _open_streams()):
                raise OutputError(f"cannot write {path}: it is standard input, output or error")
            same = next((i for i in inputs if i.exists() and target.samefile(i)), None)
            if same is not None:
                raise OutputError(f"cannot write {path}: it is the same file as {same}, which is read")
    except ValueError as error:  # a NUL in the name
        raise OutputError(f"cannot write {str(path)!r}: {error}") from error
    except OSError as error:
        raise error if isinstance(error, OutputError) else _failed(path, error) from error
    return target


class _Raw(io.FileIO):
    """A file whose failures tell the name that the user gave it."""

    def __init__(self, partial: Path, path: Path) -> None:
        self._path = path
        super().__init__(partial, "x")

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise _failed(self._path, error) from error


@contextmanager
def whole_file(path: Path, inputs: Iterable[Path] = ()) -> Iterator[BinaryIO]:
    """A file to fill; when the block ends without an error it takes the place of `path`, on disk and in one step.

    Until then it has a name of its own beside `path`, ending in `.partial`, so that several writers do not meet. Every
    other way out of the block removes it and leaves what was at `path` as it was. What a killed process leaves, the
    next writer of `path` removes.

    Raises OutputError as `output_target` does, before the block, and for whatever goes wrong with the file later.
    """
    target = output_target(path, inputs)
    _remove_leftovers(target)
    partial = target.with_name(f"{target.name[:48]}.{secrets.token_hex(4)}.partial")
    try:
        try:
            raw = _Raw(partial, path)
            fcntl.flock(raw, fcntl.LOCK_EX)
            while not partial.exists():  # another writer took it for a leftover before it was locked
                raw.close()
                raw = _Raw(partial, path)
                fcntl.flock(raw, fcntl.LOCK_EX)
        except OSError as error:
            raise _failed(path, error) from error
        with raw, io.BufferedWriter(raw) as file:
            yield file
            file.flush()
            _finish(file, partial, target, path)
    finally:
        partial.unlink(missing_ok=True)


def _remove_leftovers(target: Path) -> None:
    """Removes the partial files of writers that have died: theirs are not locked any more."""
    name = re.compile(re.escape(target.name[:48]) + r"\.[0-9a-f]{8}\.partial")
    for left in filter(name.fullmatch, os.listdir(target.parent)):
        path = target.with_name(left)
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path)
            finally:
                os.close(descriptor)


def _finish(file: BinaryIO, partial: Path, target: Path, path: Path) -> None:
    """The file gets its name."""
    try:
        os.fsync(file.fileno())
        os.replace(partial, target)
    except OSError as error:
        raise _failed(path, error) from error


def _open_streams() -> Iterator[int]:
    for descriptor in range(3):
        with suppress(OSError):
            os.fstat(descriptor)
            yield descriptor


def _failed(path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write {path}: {error.strerror or error}")
