"""Standard output and error of the process, whatever state somebody left them in."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TextIO

__all__ = ["discard", "open_streams", "settle_streams", "tell"]


def open_streams() -> None:
    """Nothing is printed into the files of others, and nothing fails to print, where descriptors are closed.

    A closed descriptor would be given to the next file that is opened. What the encoding does not know is escaped.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout, sys.stderr = _opened(sys.stdout), _opened(sys.stderr)


def _opened(stream: TextIO | None) -> TextIO:
    """A stream of the process, or one that leads nowhere in place of a closed one."""
    found = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w") if stream is None else stream
    if isinstance(found, io.TextIOWrapper):
        found.reconfigure(errors="backslashreplace")
    return found


def tell(text: str) -> None:
    """A line on stderr, if somebody listens."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr)


def discard(stream: TextIO) -> None:
    """What is printed there from now on, or still waits to be, goes nowhere."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, stream.fileno())
    os.close(descriptor)


def settle_streams() -> None:
    """What waits to be printed is, or never will be: the end of the process has nothing left to fail with."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            discard(stream)
