"""Progress bars on stderr, where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from sw.scrub import Progress as Told

__all__ = ["bar", "bars", "console"]


def console() -> Console:
    """Of stderr; says nothing where that is no terminal."""
    return Console(stderr=True, quiet=not sys.stderr.isatty())


@contextmanager
def bars(speed: bool) -> Iterator[Progress]:
    """For several things at once, whose sizes are bytes; they go away in the end."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), *[TransferSpeedColumn()] * speed)
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as shown:
        yield shown


@contextmanager
def bar(text: str, speed: bool = False) -> Iterator[Told]:
    """For one thing: what is to be told the bytes that are done, and all that will be."""
    with bars(speed) as shown:
        task: TaskID = shown.add_task(text, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
