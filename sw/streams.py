"""Standard output and error of the process, also if they are closed or cannot encode a character."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TextIO

__all__ = ["discard", "open_streams", "settle_streams", "tell"]


def open_streams() -> None:
    """Open /dev/null in place of closed standard streams, and escape characters that the encoding does not have.

    Otherwise the next file that is opened would get the closed descriptor, and messages would be printed into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout, sys.stderr = _opened(sys.stdout), _opened(sys.stderr)


def _opened(stream: TextIO | None) -> TextIO:
    """The stream, or one to /dev/null if it is closed."""
    found = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w") if stream is None else stream
    if isinstance(found, io.TextIOWrapper):
        found.reconfigure(errors="backslashreplace")
    return found


def tell(text: str) -> None:
    """Print a line on stderr. A closed stderr is ignored."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr)


def discard(stream: TextIO) -> None:
    """Redirect a stream to /dev/null, including what is still in its buffer."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, stream.fileno())
    os.close(descriptor)


def settle_streams() -> None:
    """Flush the standard streams, or discard their buffers if that fails, so that the interpreter exits quietly."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            discard(stream)
