"""Progress bars on stderr. They are shown only if stderr is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from sw.scrub import Progress as Told

__all__ = ["bar", "bars", "console"]


def console() -> Console:
    """Console on stderr, which prints nothing if stderr is not a terminal."""
    return Console(stderr=True, quiet=not sys.stderr.isatty())


@contextmanager
def bars(speed: bool) -> Iterator[Progress]:
    """Show one or more progress bars in bytes, which are erased at the end. `speed` adds bytes per second."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), *[TransferSpeedColumn()] * speed)
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as shown:
        yield shown


@contextmanager
def bar(text: str, speed: bool = False) -> Iterator[Told]:
    """Show one progress bar. Yields the function to call with the bytes done and the total."""
    with bars(speed) as shown:
        task: TaskID = shown.add_task(text, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
