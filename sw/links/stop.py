"""How one thread ends what a link does in another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["Stop", "Stopped"]

T = TypeVar("T")


class Stopped(Exception):
    """What a link did was ended by `Stop.ask`. The machine is ready for the next run."""


class Stop:
    """`ask` is for any thread. All else is for the one that uses the link: it looks now and then, or waits in a way
    that `ask` ends.

    Attributes:
        lock: held while something changes; also by whoever must know what an `ask` is about. A finalizer may take it,
            in whatever thread it runs, so a thread can have it more than once.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._asked = False
        self._wake: Callable[[], object] | None = None

    def ask(self) -> None:
        """Ends what the link does now or, if that is nothing, what it does next."""
        with self.lock:
            if not self._asked and self._wake is not None:
                self._wake()
            self._asked = True

    def clear(self) -> None:
        """What comes next is not ended."""
        with self.lock:
            self._asked = False

    def check(self) -> None:
        """Raises Stopped if somebody has asked."""
        if self._asked:
            raise Stopped("it was stopped")

    @contextmanager
    def _waking(self, wake: Callable[[], object]) -> Iterator[None]:
        with self.lock:
            self.check()
            self._wake = wake
        try:
            yield
        finally:
            with self.lock:
                self._wake = None

    async def ending(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine, which is cancelled when somebody asks. Raises Stopped then."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        try:
            with self._waking(lambda: loop.call_soon_threadsafe(task.cancel)):
                return await work
        except asyncio.CancelledError:
            self.check()
            raise
        finally:
            work.close()  # where it was stopped before it began
