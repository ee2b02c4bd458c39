"""Output folders that are written completely or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sw.whole_file import OutputError

__all__ = ["whole_folder"]


def _check(shown: Path, folder: Path, force: bool, ours: Callable[[str], bool]) -> None:
    """Raises OutputError unless the folder does not exist, is empty, or may be replaced and holds only own files."""
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise OutputError(f"cannot write {shown}: it is a file, not a folder")
    names = sorted(os.listdir(folder))
    if names and not force:
        raise OutputError(f"cannot write {shown}: the folder exists; name another one, or replace it with --force")
    foreign = [name for name in names if not ours(name) or (folder / name).is_dir()]
    if foreign:
        raise OutputError(f"cannot replace {shown}: it holds {foreign[0]!r}, which this program does not write there")


@contextmanager
def whole_folder(path: Path, force: bool, ours: Callable[[str], bool]) -> Iterator[Path]:
    """Context of an output folder. The block fills the folder that it is given, which then becomes `path`.

    Until then it is called NAME.partial and lies beside `path`. If the block fails, it is removed and `path` stays
    unchanged; what a killed process left of it is replaced. Missing parents are created.

    Args:
        path: the folder; it must not exist or be empty, unless `force`.
        force: replace a folder that holds nothing but files which are `ours`.
        ours: whether a name is that of a file that the block writes.

    Raises:
        OutputError: the folder cannot be written, now or while the block runs.
    """
    try:
        target = Path(os.path.realpath(path))
        partial = target.with_name(f"{target.name}.partial")
        _check(path, target, force, ours)
        _check(partial, partial, True, ours)
        partial.mkdir(parents=True, exist_ok=True)
        held = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except (OSError, ValueError) as error:
        raise _told(path, error) from error
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputError(f"cannot write {path}: another process is writing it") from error
        try:
            _empty(partial)
            yield partial
            if target.exists():
                _empty(target)
            os.replace(partial, target)
        except BaseException as error:
            shutil.rmtree(partial, ignore_errors=True)
            if isinstance(error, OSError):
                raise _told(path, error) from error
            raise
    finally:
        os.close(held)


def _empty(folder: Path) -> None:
    for name in os.listdir(folder):
        (folder / name).unlink()


def _told(path: Path, error: OSError | ValueError) -> OutputError:
    if isinstance(error, OutputError):
        return error
    reason = error.strerror if isinstance(error, OSError) else None
    return OutputError(f"cannot write {path}: {reason or error}")
