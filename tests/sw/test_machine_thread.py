"""The thread that owns a machine: whatever a caller does, its run ends at rest and the link is closed once."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial

import pytest

from hw.contract.config import PRESETS
from sw.errors import HardwareError, SessionClosedError
from sw.links.link import Step
from sw.links.stop import Stop, Stopped
from sw.machine_thread import MachineThread
from sw.model_plan import ModelPlan
from sw.model_shape import ModelShape
from sw.requests import Job, Request
from tests.sw.fake_link import FakeLink

PLAN = ModelPlan(PRESETS["tiny"], ModelShape(hidden=64, intermediate=96, layers=1, heads=1, kv_heads=1, head_dim=64,
                                             vocab=40, context=64, sequences=1))
JOB = Job(prompt=(1,), max_new_tokens=1, chunk=1)
WAIT_S = 20


class Endless(FakeLink):
    """Gives tokens until it is stopped. Keeps which thread did what, and how its runs ended."""

    def __init__(self) -> None:
        super().__init__(PLAN)
        self.threads: set[int] = set()
        self.ends: list[str] = []
        self.closed = 0

    def run(self, request: Request) -> Generator[Step, None, None]:
        self.threads.add(threading.get_ident())
        try:
            while True:
                self.stop.check()
                yield Step([], 1)
                time.sleep(0.001)
        except Stopped:
            self.ends.append("stopped")
            raise
        except GeneratorExit:
            self.ends.append("closed")
            raise

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.closed += 1


@pytest.fixture
def link() -> Endless:
    return Endless()


@pytest.fixture
def machine(link: Endless) -> Iterator[MachineThread]:
    machine = MachineThread(link)
    yield machine
    machine.close()
    assert link.closed == 1
    assert len(link.threads) == 1
    assert threading.get_ident() not in link.threads


def run(link: Endless) -> Callable[[Callable[[int], None]], str]:
    """Work that goes on until it is stopped."""
    def work(tell: Callable[[int], None]) -> str:
        for step in link.run(JOB):
            assert step.token is not None
            tell(step.token)
        return "the end"

    return work


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_results_and_errors_come_back(machine: MachineThread) -> None:
    def fail() -> None:
        raise HardwareError("it is cold")

    assert machine.call(lambda: 7) == 7
    with pytest.raises(HardwareError, match="it is cold"):
        machine.call(fail)
    with pytest.raises(ZeroDivisionError):
        machine.call(lambda: 1 // 0)
    work = machine.begin(lambda tell: [tell(n) for n in range(3)] and "all")
    assert list(work) == [0, 1, 2]
    assert list(work) == []
    assert (work.result(), work.result()) == ("all", "all")


def test_it_has_an_event_loop_of_its_own(machine: MachineThread) -> None:
    """Where the caller's runs already, links could not wait in it."""
    async def caller() -> int:
        return machine.call(lambda: asyncio.run(asyncio.sleep(0, 5)))

    assert asyncio.run(caller()) == 5


def test_work_that_is_stopped(machine: MachineThread, link: Endless) -> None:
    """It ends before `stop` returns, and the next work is not stopped."""
    work = machine.begin(run(link))
    assert [next(work) for _ in range(5)] == [1] * 5
    work.stop()
    assert work.ended.is_set()
    assert len(link.ends) == 1
    work.stop()
    with pytest.raises(SessionClosedError, match="stopped before it had a result"):
        work.result()
    assert machine.call(lambda: 7) == 7


def test_work_that_waits_is_not_begun_when_it_is_stopped(machine: MachineThread, link: Endless) -> None:
    first, second = machine.begin(run(link)), machine.begin(run(link))
    next(first)
    second.ask()
    first.stop()
    assert list(second) == []
    assert len(link.ends) == 1


def test_an_interrupt_ends_the_work_first(machine: MachineThread, link: Endless) -> None:
    """Ctrl-C comes to the main thread, wherever it waits; the machine is at rest when it goes on from there."""
    for wait in (lambda work: work.result(), lambda work: [item for item in work if item != 1]):
        work = machine.begin(run(link))
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            wait(work)
        assert work.ended.is_set()
        timer.join()
    assert len(link.ends) == 2
    assert machine.call(lambda: 7) == 7


def test_many_callers_at_once(machine: MachineThread, link: Endless) -> None:
    """Each has its own work, which is what it stops; what was stopped is not taken for what comes next."""
    failed: list[BaseException] = []

    def caller(number: int) -> None:
        try:
            for turn in range(8):
                work = machine.begin(run(link))
                assert [next(work) for _ in range(turn % 3 + 1)] == [1] * (turn % 3 + 1)
                work.stop()
                assert machine.call(partial(divmod, number, 7)) == (0, number)
        except BaseException as error:
            failed.append(error)

    callers = [threading.Thread(target=caller, args=(number,)) for number in range(6)]
    for one in callers:
        one.start()
    for one in callers:
        one.join(WAIT_S)
        assert not one.is_alive()
    assert not failed
    assert len(link.ends) == 48


def test_closing_from_another_thread(machine: MachineThread, link: Endless) -> None:
    """Whoever reads is told, and so is whoever waits for his turn."""
    work, waiting = machine.begin(run(link)), machine.begin(run(link))
    next(work)
    closers = [threading.Thread(target=machine.close) for _ in range(3)]
    for closer in closers:
        closer.start()
    for one in (work, waiting):
        with pytest.raises(SessionClosedError, match="the session was closed"):
            list(one)
    for closer in closers:
        closer.join(WAIT_S)
    assert (link.closed, len(link.ends)) == (1, 1)
    with pytest.raises(SessionClosedError, match="the session is closed: open another one"):
        machine.call(lambda: 7)


def test_closing_from_the_work_itself(machine: MachineThread) -> None:
    """As a finalizer may, or what is told of progress."""
    with pytest.raises(SessionClosedError):
        machine.call(lambda: (machine.close(), machine.call(lambda: 7)))


def test_nothing_is_kept_of_what_was_done(machine: MachineThread) -> None:
    class Result:
        pass

    machine.call(Result)
    wait_until(lambda: gc.collect() is not None and not [one for one in gc.get_objects() if isinstance(one, Result)])


def test_a_wait_is_ended_from_another_thread() -> None:
    stop, ended = Stop(), []

    async def wait() -> None:
        try:
            await asyncio.sleep(WAIT_S)
        finally:
            await asyncio.sleep(0.01)  # what an abort does: it is not cancelled once more
            ended.append(True)

    timer = threading.Timer(0.1, lambda: (stop.ask(), stop.ask()))
    timer.start()
    with pytest.raises(Stopped):
        asyncio.run(stop.ending(wait()))
    timer.join()
    assert ended == [True]
    with pytest.raises(Stopped):
        asyncio.run(stop.ending(wait()))  # at once
    assert ended == [True]
    stop.clear()
    assert asyncio.run(stop.ending(asyncio.sleep(0, 3))) == 3
