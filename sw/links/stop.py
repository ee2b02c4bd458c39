"""Cancellation of a link's current operation from another thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["Stop", "Stopped"]

T = TypeVar("T")


class Stopped(Exception):
    """`Stop.ask` ended the operation of a link. The accelerator is ready for the next run."""


class Stop:
    """Cancellation request. Any thread may call `ask`; all other methods are for the thread that uses the link.

    That thread calls `check` regularly, or waits with `ending`.

    Attributes:
        lock: protects the state, and is also held to make an `ask` refer to a certain operation. It is re-entrant,
            because a finalizer may take it in any thread.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._asked = False
        self._wake: Callable[[], object] | None = None

    def ask(self) -> None:
        """End the current operation of the link or, if there is none, the next one."""
        with self.lock:
            if not self._asked and self._wake is not None:
                self._wake()
            self._asked = True

    def clear(self) -> None:
        """Withdraw the request: the next operation is not ended."""
        with self.lock:
            self._asked = False

    def check(self) -> None:
        """Raises Stopped if `ask` was called."""
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
        """Await a coroutine and return its result. `ask` cancels it, which raises Stopped."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        try:
            with self._waking(lambda: loop.call_soon_threadsafe(task.cancel)):
                return await work
        except asyncio.CancelledError:
            self.check()
            raise
        finally:
            work.close()  # if it was stopped before it began
