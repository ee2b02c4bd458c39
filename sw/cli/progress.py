"""Progress bars on stderr, or below the cell of a notebook. They are shown only in a terminal or a notebook."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.status import Status

from hw.extras import missing
from sw.model_source import Packing
from sw.scrub import Progress as Told

__all__ = ["bar", "bars", "building", "console", "packing_bars"]


def _visible(shown: Console) -> bool:
    """Whether somebody sees what changes on a console. Warns of a notebook without the package that shows it."""
    if not shown.is_jupyter:
        return sys.stderr.isatty()
    if find_spec("ipywidgets") is None:
        warnings.warn(f"progress is not shown: {missing('ipywidgets')}", stacklevel=2)
        return False
    return True


def console(shown: bool = True) -> Console:
    """Console on stderr, which prints nothing if it is not to be shown, or stderr is neither terminal nor notebook."""
    made = Console(stderr=True)
    made.quiet = not (shown and _visible(made))
    return made


def building(shown: bool) -> Status:
    """Context that says that the simulator is built."""
    return console(shown).status("building the simulator (takes a minute or two the first time)")


@contextmanager
def bars(speed: bool, shown: bool = True) -> Iterator[Progress]:
    """Show one or more progress bars in bytes, which are erased at the end. `speed` adds bytes per second."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), *[TransferSpeedColumn()] * speed)
    to = console(shown)
    with Progress(*columns, console=to, disable=to.quiet, transient=True) as progress:
        yield progress


@contextmanager
def bar(text: str, speed: bool = False, shown: bool = True) -> Iterator[Told]:
    """Show one progress bar. Yields the function to call with the bytes done and the total."""
    with bars(speed, shown) as progress:
        task: TaskID = progress.add_task(text, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def packing_bars(shown: bool = True) -> Iterator[Packing]:
    """Show a progress bar for each region of an image that is begun."""
    with bars(speed=True, shown=shown) as progress:
        tasks: dict[str, TaskID] = {}

        def told(name: str, size: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(f"pack {name}", total=None)
            progress.advance(tasks[name], size)

        yield told
