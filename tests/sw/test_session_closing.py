"""Closing a session at any time: nothing hangs, nothing is left running, and whoever waits is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from amaranth.hdl import Elaboratable

from bitnet_fpga import Session, SessionClosedError
from hw.tool import run_tool
from sw.serve.order import Event, Failure, Order, Part

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "models" / "shakespeare-nano"
WAIT_S = 20
PROMPT = [3, 17, 29]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiler that takes long. The file has its process id."""

    def build(accelerator: Elaboratable, **_: object) -> None:
        accelerator._MustUse__silence = True  # Amaranth warns of what is never elaborated, in whatever test comes next
        run_tool(["sh", "-c", "echo $$ > tool.new; mv tool.new tool; sleep 60"], tmp_path, tmp_path / "log",
                 timeout_s=60)

    monkeypatch.setattr("sim.links.simulated.build_model", build)
    return tmp_path / "tool"


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def runs(process: int) -> bool:
    """Whether it is alive: a dead one remains in /proc until its parent collects it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("use", ["build", "load", "generate", "stream", "score", "batch"])
def test_while_a_simulator_is_built(use: str, tool: Path, small: Path) -> None:
    """Whatever has begun it: the compiler ends, and so does the call."""
    session = Session(small, backend="sim")
    calls: dict[str, Callable[[], object]] = {
        "build": session.build, "load": session.load, "generate": lambda: session.generate(PROMPT),
        "stream": lambda: session.stream(PROMPT), "score": lambda: session.score(PROMPT),
        "batch": lambda: list(session.batch([PROMPT])),
    }
    errors: list[BaseException] = []

    def call() -> None:
        try:
            calls[use]()
        except BaseException as error:
            errors.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    wait_until(tool.exists)
    process = int(tool.read_text())
    assert runs(process)
    session.close()
    caller.join(WAIT_S)
    assert [type(error) for error in errors] == [SessionClosedError]
    assert not runs(process)


def test_an_interrupt_while_a_simulator_is_built(tool: Path, small: Path) -> None:
    """The compiler ends at once; the session can be used again, and closed."""
    with Session(small, backend="sim") as session:
        def interrupt() -> None:
            wait_until(tool.exists)
            os.kill(os.getpid(), signal.SIGINT)

        for _ in range(2):
            tool.unlink(missing_ok=True)
            timer = threading.Thread(target=interrupt)
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                session.generate(PROMPT)
            timer.join()
            assert not runs(int(tool.read_text()))


def test_by_its_own_reader(small: Path) -> None:
    """In the loop over a stream; what is left is not read as if it had been the end."""
    session = Session(small)
    stream = session.stream(PROMPT, max_new_tokens=20)
    next(stream)
    session.close()
    session.close()
    stream.close()
    with pytest.raises(SessionClosedError):
        _ = [stream.result for _ in stream]


def test_by_what_is_told_of_progress(small: Path) -> None:
    """In the session's own thread, which cannot wait for itself."""
    session = Session(small)

    def told(done: int, total: int) -> None:
        session.close()
        session.generate(PROMPT)

    with pytest.raises(SessionClosedError):
        session.scrub(told)
    session.close()


@pytest.mark.parametrize("asked", [0, 1])
def test_with_an_engine(asked: int, small: Path) -> None:
    """Idle or not, it ends with the session, and whoever waits for an answer is told."""
    session, events = Session(small), list[Event]()
    engine, work = session.engine(4)
    for _ in range(asked):
        engine.submit(Order(prompt=(3, 17), max_new_tokens=30), events.append)
        wait_until(lambda: events)
    began = time.monotonic()
    session.close()
    assert time.monotonic() - began < WAIT_S
    assert work.ended.is_set()
    assert [type(event) for event in events if not isinstance(event, Part)] == [Failure] * asked
    with pytest.raises(SessionClosedError):
        engine.submit(Order(prompt=(3, 17), max_new_tokens=30), events.append)


def test_a_stream_outlives_the_name_of_its_session(small: Path) -> None:
    stream = Session(small).stream(PROMPT, max_new_tokens=4)
    assert len(list(stream)) == 5
    assert len(stream.result.tokens) == 4


PROGRAMS = {
    "in the middle of a stream": "next(session.stream('ROMEO:', max_new_tokens=200))",
    "with an error": "stream = session.stream('ROMEO:', max_new_tokens=200); next(stream); sys.exit(3)",
    "while another thread waits": (
        "stream = session.stream('ROMEO:', max_new_tokens=200)\n"
        "def read():\n"
        "    with contextlib.suppress(SessionClosedError): list(stream)\n"
        "threading.Thread(target=read, daemon=True).start(); next(stream)"),
    "inside of an event loop": (
        "async def main():\n"
        "    async for piece in session.stream('ROMEO:', max_new_tokens=200):\n"
        "        return\n"
        "asyncio.run(main())"),
    "in a finalizer": (
        "class Owner:\n"
        "    def __init__(self): self.stream = session.stream('ROMEO:', max_new_tokens=200)\n"
        "    def __del__(self): self.stream.close(); session.close()\n"
        "owner = Owner(); next(owner.stream)"),
}


@pytest.mark.parametrize("end", PROGRAMS)
def test_a_program_ends(end: str) -> None:
    """Soon, and without an error of its own."""
    program = ("import asyncio, contextlib, sys, threading\nfrom bitnet_fpga import Session, SessionClosedError\n"
               "session = Session(sys.argv[1])\n" + PROGRAMS[end])
    done = subprocess.run([sys.executable, "-c", program, str(DEMO)], cwd=ROOT, capture_output=True, text=True,
                          check=False, timeout=60)
    assert (done.returncode, done.stderr) == (3 if end == "with an error" else 0, "")
