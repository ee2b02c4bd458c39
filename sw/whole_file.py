"""Output files that are written completely or not at all. All files for a user are created here."""

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
    """A file cannot be written."""


def output_target(path: Path, inputs: Iterable[Path] = ()) -> Path:
    """The file to which an output path refers, with links followed. Nothing is created.

    Raises:
        OutputError: it is an input, a standard stream, read-only or not a regular file, or its folder does not exist.
    """
    try:
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise OutputError(f"cannot write {path}: it is a folder")
        if not target.parent.is_dir():
            raise OutputError(f"cannot write {path}: {target.parent} is not a folder")
        if target.is_symlink():
            raise OutputError(f"cannot write {path}: it is a symbolic link that points to itself")
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
    """A file whose errors have the name that the user gave."""

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
    """Context of an output file. If the block ends without an error, the file replaces `path` atomically.

    Until then it is written under a unique name beside `path`, ending in `.partial`, so that several writers do not
    conflict. If the block fails, the partial file is removed and `path` stays unchanged. A partial file of a killed
    process is removed by the next writer of `path`.

    Raises:
        OutputError: as for `output_target`, before the block; or a later operation on the file failed.
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
    """Remove partial files of killed writers, which are no longer locked."""
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
    """Sync the partial file and rename it to the target."""
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
