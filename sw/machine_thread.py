"""The machine thread: the only thread that uses a link. It runs one piece of work after the other.

A link runs its own event loop, which is impossible in a thread where an event loop already runs, as in a notebook or an
asynchronous server. So callers submit work to this thread and wait for its values and its result. If a waiting caller
is interrupted, for example by Ctrl-C, the work is stopped first, so that the machine is idle when the exception
propagates.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from sw.errors import HardwareError, SessionClosedError
from sw.links.link import Link
from sw.links.stop import Stopped

__all__ = ["MachineThread", "Work"]

REST_S = 180
"""Seconds that stopped work may take to end: more than any time-out of a link."""

LOOK_S = 1
"""Seconds after which a waiting caller checks again that the machine thread is alive."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class _Item(Generic[T]):
    """A value that the work produced before its end."""

    value: T


class Work(Generic[T, R]):
    """Work submitted to the machine thread. Iterating yields its values as they arrive; `result` waits for its end."""

    def __init__(self, do: Callable[[Callable[[T], None]], R], machine: MachineThread) -> None:
        self._do, self._machine = do, machine
        self._told: SimpleQueue[_Item[T] | None] = SimpleQueue()  # None marks the end
        self._returned: list[R] = []
        self._error: BaseException | None = None
        self.ended = threading.Event()
        self.stopped = False

    def run(self) -> None:
        """Do the work. Called once, by the machine thread. Exceptions are kept for the caller."""
        try:
            self._check()
            self._returned.append(self._do(self._tell))
        except BaseException as error:
            self._error = error
        self.ended.set()
        self._told.put(None)

    def _check(self) -> None:
        if self.stopped:
            raise Stopped("the work was stopped")

    def _tell(self, value: T) -> None:
        """Pass a value to the caller. Raises Stopped if the work was stopped."""
        self._check()
        self._told.put(_Item(value))

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        """Wait for the next value. An interruption stops the work before it propagates.

        Raises what the work raises, and SessionClosedError if the session was closed.
        """
        try:
            item = self._wait()
        except BaseException:
            self.stop()
            raise
        if item is not None:
            return item.value
        self._told.put(None)  # for the next call
        if isinstance(self._error, Stopped) and self._machine.closed:
            raise SessionClosedError("the session was closed during the call: open another one") from self._error
        if self._error is not None and not isinstance(self._error, Stopped):
            raise self._error
        raise StopIteration

    def result(self) -> R:
        """Wait for the end and return the result. Raises what iterating raises; SessionClosedError if stopped."""
        for _ in self:
            pass
        if not self._returned:
            raise SessionClosedError("the call was stopped before it had a result: call it again")
        return self._returned[0]

    def _wait(self) -> _Item[T] | None:
        while True:
            try:
                return self._told.get(timeout=LOOK_S)
            except Empty:
                self._machine.check_alive()

    def ask(self) -> None:
        """Request that the work stop at the next safe point, and return at once."""
        self._machine.stop(self)

    def stop(self) -> None:
        """Stop the work and wait for its end. Raises HardwareError if it does not end within `REST_S`."""
        self.ask()
        if self._machine.is_current_thread():  # it must not wait for itself
            return
        for _ in range(REST_S // LOOK_S):
            if self.ended.wait(LOOK_S):
                return
            self._machine.check_alive()
        raise HardwareError(f"the accelerator did not stop within {REST_S} s: reset it")


class MachineThread:
    """Owner of a link, which it closes at the end. Every method may be called from any thread."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = link.stop.lock  # shared, so that no lock order can deadlock
        self._orders: SimpleQueue[Work[Any, Any] | None] = SimpleQueue()
        self._current: Work[Any, Any] | None = None
        self.closed = False
        self._thread = threading.Thread(target=self._serve, name="bitnet-fpga machine", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while (work := self._orders.get()) is not None:
            with self._lock:
                self._current, work.stopped = work, work.stopped or self.closed
                self._link.stop.clear()
            work.run()
            with self._lock:
                self._current = None
            del work  # keep no reference to finished work
        self._link.close()

    def begin(self, do: Callable[[Callable[[T], None]], R]) -> Work[T, R]:
        """Submit work. `do` is called with a function that passes values to the caller.

        The work continues to its end even if its values are not read. Raises SessionClosedError after `close`.
        """
        work = Work(do, self)
        with self._lock:
            self.check_open()
            self._orders.put(work)
        return work

    def call(self, do: Callable[[], R]) -> R:
        """Run `do` in the machine thread and return its result. An interruption stops it before it propagates."""
        work: Work[None, R] = self.begin(lambda _: do())
        return work.result()

    def stop(self, work: Work[Any, Any]) -> None:
        """Request that the work stop at the next safe point, and return at once."""
        with self._lock:
            work.stopped = True
            if self._current is work:
                self._link.stop.ask()

    def is_current_thread(self) -> bool:
        """Whether this is the thread of the machine."""
        return threading.current_thread() is self._thread

    def check_open(self) -> None:
        """Raises SessionClosedError after `close`."""
        if self.closed:
            raise SessionClosedError("the session is closed: open another one")

    def check_alive(self) -> None:
        """Raises HardwareError if the machine thread has ended."""
        if not self._thread.is_alive():
            raise HardwareError("the machine thread has ended: open another session")

    def close(self) -> None:
        """Stop running and waiting work and close the link. May be called again.

        Raises HardwareError if the running work does not end.
        """
        with self._lock:
            first, self.closed = not self.closed, True
            if self._current is not None:
                self.stop(self._current)
        if first:
            self._orders.put(None)
        if not self.is_current_thread():
            self._thread.join(REST_S)
            if self._thread.is_alive():
                raise HardwareError(f"the accelerator did not stop within {REST_S} s: reset it")
