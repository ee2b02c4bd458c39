"""The thread that owns a machine: it alone uses the link, one piece of work after the other.

Links wait in event loops of their own, which a thread can have only where none runs already, as one does in a notebook
and in an asynchronous server. So whoever wants something of the machine hands it to this thread and waits for what
comes back. A waiting thread can be interrupted at any time, as by Ctrl-C: the work is stopped then, which leaves the
machine at rest, before the interruption goes on.
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
"""Seconds in which what is under way ends after it was stopped: more than any time-out of a link."""

LOOK_S = 1
"""How often a waiting thread looks whether there still is somebody to wait for."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class _Item(Generic[T]):
    """Something that came while the work was done."""

    value: T


class Work(Generic[T, R]):
    """Something that the thread does, or will: what it tells comes by iterating, what it returns by `result`."""

    def __init__(self, do: Callable[[Callable[[T], None]], R], machine: MachineThread) -> None:
        self._do, self._machine = do, machine
        self._told: SimpleQueue[_Item[T] | None] = SimpleQueue()  # None: the last
        self._returned: list[R] = []
        self._error: BaseException | None = None
        self.ended = threading.Event()
        self.stopped = False

    def run(self) -> None:
        """Called once, by the thread of the machine; never fails."""
        try:
            self._check()
            self._returned.append(self._do(self._tell))
        except BaseException as error:
            self._error = error
        self.ended.set()
        self._told.put(None)

    def _check(self) -> None:
        if self.stopped:
            raise Stopped("it was stopped")

    def _tell(self, value: T) -> None:
        """Ends the work where nobody wants to know any more."""
        self._check()
        self._told.put(_Item(value))

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        """What comes next. An interruption while it waits stops the work first. Raises what the work raises, and
        SessionClosedError if the session was closed."""
        try:
            item = self._wait()
        except BaseException:
            self.stop()
            raise
        if item is not None:
            return item.value
        self._told.put(None)  # whoever asks again
        if isinstance(self._error, Stopped) and self._machine.closed:
            raise SessionClosedError("the session was closed") from self._error
        if self._error is not None and not isinstance(self._error, Stopped):
            raise self._error
        raise StopIteration

    def result(self) -> R:
        """What the work returns, when it has ended. Raises what iterating raises, SessionClosedError if it was stopped.
        """
        for _ in self:
            pass
        if not self._returned:
            raise SessionClosedError("it was stopped before it had a result")
        return self._returned[0]

    def _wait(self) -> _Item[T] | None:
        while True:
            try:
                return self._told.get(timeout=LOOK_S)
            except Empty:
                self._machine.check_alive()

    def ask(self) -> None:
        """Stops the work, as soon as the machine can be left; does not wait for that."""
        self._machine.stop(self)

    def stop(self) -> None:
        """Stops the work and returns when it has ended. Raises HardwareError if it does not end."""
        self.ask()
        if self._machine.is_current_thread():  # which would wait for itself
            return
        for _ in range(REST_S // LOOK_S):
            if self.ended.wait(LOOK_S):
                return
            self._machine.check_alive()
        raise HardwareError(f"the machine did not come to rest within {REST_S} s: reset it")


class MachineThread:
    """Owns a link from now on, and closes it in the end. Every method is for any thread."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = link.stop.lock  # one lock for both: there is no order in which to take them
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
            del work  # nothing of what is done is kept
        self._link.close()

    def begin(self, do: Callable[[Callable[[T], None]], R]) -> Work[T, R]:
        """Hands over what is to be done: `do` is called with what tells something while it is done. It goes on to its
        end whether or not somebody reads what it tells. Raises SessionClosedError after `close`."""
        work = Work(do, self)
        with self._lock:
            if self.closed:
                raise SessionClosedError("the session is closed: open another one")
            self._orders.put(work)
        return work

    def call(self, do: Callable[[], R]) -> R:
        """What `do` returns. An interruption while it waits stops it first."""
        work: Work[None, R] = self.begin(lambda _: do())
        return work.result()

    def stop(self, work: Work[Any, Any]) -> None:
        """Ends the work as soon as the machine can be left; does not wait for that."""
        with self._lock:
            work.stopped = True
            if self._current is work:
                self._link.stop.ask()

    def is_current_thread(self) -> bool:
        """Whether this is the thread of the machine."""
        return threading.current_thread() is self._thread

    def check_alive(self) -> None:
        """Raises HardwareError if there is nobody to wait for."""
        if not self._thread.is_alive():
            raise HardwareError("the thread of the machine has ended: open another session")

    def close(self) -> None:
        """Stops what is under way and what waits, and closes the link. May be called again.

        Raises HardwareError if what is under way does not end.
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
                raise HardwareError(f"the machine did not come to rest within {REST_S} s: reset it")
