"""One simulator per link: it serves run after run, and whatever happens, none is left over."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hw.contract.config import PRESETS
from sim.links import simulator_process
from sim.links.golden import GoldenLink
from sim.links.simulated import SimulatedLink
from sim.links.simulator_process import SimulatorProcess
from sim.random_checkpoint import write_random_checkpoint
from sw.__main__ import main
from sw.checkpoint import Checkpoint
from sw.driver import Driver, Generation
from sw.errors import HardwareError, SessionClosedError
from sw.image import ModelImage
from sw.links.stop import Stopped
from sw.pack import pack
from sw.requests import Job
from sw.session import Session

ROOT = Path(__file__).parents[2]
TINY = PRESETS["tiny"]
JOB = Job(prompt=(3, 1, 30, 4, 15), max_new_tokens=4, chunk=2, all_logits=True)
LONG = Job(prompt=(1,), max_new_tokens=23, chunk=1)
WAIT_S = 60


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_random_checkpoint(tmp_path / "m", hidden=64, intermediate=96, layers=2, heads=2, kv_heads=1, vocab=33,
                                   positions=24, seed=3)


@pytest.fixture
def image(checkpoint: Path, tmp_path: Path) -> ModelImage:
    pack(Checkpoint.open(checkpoint), tmp_path / "model.img", TINY)
    return ModelImage.open(tmp_path / "model.img", TINY)


def golden(image: ModelImage, job: Job = JOB) -> Generation:
    return Driver(GoldenLink(image)).generate(job)


def simulators(image: Path) -> list[int]:
    """Processes that simulate with this image."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if f"+memory_file={image}\0".encode() in (folder / "cmdline").read_bytes() + b"\0":
                found.append(int(folder.name))
        except (OSError, ValueError):
            continue
    return found


def run_folders(pid: int) -> set[Path]:
    """Those that a process made; other tests run at the same time."""
    return set(Path(tempfile.gettempdir()).glob(f"bitnet-fpga-simulated_bench-{pid}-*"))


@contextmanager
def nothing_is_left(image: ModelImage) -> Iterator[None]:
    before = run_folders(os.getpid())
    yield
    assert not simulators(image.path)
    assert run_folders(os.getpid()) <= before


def test_runs_share_a_process(image: ModelImage) -> None:
    """It starts with the first run, and its clock stands still between runs."""
    with nothing_is_left(image), closing(SimulatedLink(image)) as link:
        assert not simulators(image.path)
        driver = Driver(link)
        assert driver.generate(LONG).tokens == golden(image, LONG).tokens
        first = link.stats
        (process,) = simulators(image.path)
        used = Path(f"/proc/{process}/stat").read_text().split()[13]  # processor time
        time.sleep(1)
        assert Path(f"/proc/{process}/stat").read_text().split()[13] == used
        assert driver.generate(JOB).tokens == golden(image).tokens
        assert simulators(image.path) == [process]
        second = link.stats
        assert first
        assert second
        assert first.traffic
        assert second.traffic
        assert first.traffic.beats_read > second.traffic.beats_read
        for run in (first, second):
            assert run.traffic
            read = run.traffic.read_bytes
            assert read["kv"] == read["total"] - sum(
                size for name, size in read.items() if name not in ("kv", "total")) > 0
        assert driver.total == first + second
        assert (driver.total.runs, driver.total.cycles) == (2, first.cycles + second.cycles)
    link.close()
    with pytest.raises(HardwareError, match="the link to the simulator is closed"):
        driver.generate(JOB)


def test_closing_a_run_leaves_the_link_ready(image: ModelImage, monkeypatch: pytest.MonkeyPatch) -> None:
    """At any moment of it, and in the same process; the rest of the run is not simulated."""
    ends: list[str] = []
    reply = SimulatorProcess.reply

    def recorded(process: SimulatorProcess, *arguments: Any) -> Any:
        try:
            return reply(process, *arguments)
        except HardwareError as error:
            ends.append(str(error))
            raise

    monkeypatch.setattr(SimulatorProcess, "reply", recorded)
    with nothing_is_left(image), closing(SimulatedLink(image)) as link:
        for wanted in (1, 2, 5):
            run = link.run(LONG)
            tokens = [next(run).token for _ in range(wanted)]
            processes = simulators(image.path)
            with pytest.raises(HardwareError, match="end that run first"):
                link.read_memory(0, 1)
            run.close()
            assert tokens == golden(image, LONG).tokens[:wanted]
            assert Driver(link).generate(JOB).tokens == golden(image).tokens
            assert simulators(image.path) == processes
    assert ends == ["the run was stopped"] * 3


def test_a_run_that_is_stopped_leaves_the_link_ready(image: ModelImage) -> None:
    """As another thread stops it, before a token comes or behind one; the simulator is that of `load`."""
    with nothing_is_left(image), closing(SimulatedLink(image)) as link:
        assert link.build() == TINY.build_id
        link.load(lambda done, total: None)
        link.read_memory(0, 1)  # a process that has not answered may not have its command line yet
        processes = simulators(image.path)
        assert len(processes) == 1

        def read(tokens: list[int], wanted: int) -> None:
            if not wanted:
                link.stop.ask()
            for step in link.run(LONG):
                assert step.token is not None
                tokens.append(step.token)
                if len(tokens) == wanted:
                    link.stop.ask()

        for wanted in (0, 2):
            tokens: list[int] = []
            with pytest.raises(Stopped):
                read(tokens, wanted)
            assert tokens == golden(image, LONG).tokens[:wanted]
            link.stop.clear()
            assert Driver(link).generate(JOB).tokens == golden(image).tokens
        assert simulators(image.path) == processes


def test_a_session_that_is_closed_while_its_stream_is_read(image: ModelImage) -> None:
    with nothing_is_left(image):
        session = Session(image.path, backend="sim")
        stream = session.stream(LONG)
        assert next(stream).token == golden(image, LONG).tokens[0]
        closer = threading.Thread(target=session.close)
        closer.start()
        with pytest.raises(SessionClosedError):
            list(stream)
        closer.join(WAIT_S)
        assert not closer.is_alive()


@pytest.mark.parametrize("error", [InterruptedError, KeyboardInterrupt])
def test_a_callback_that_fails_ends_its_run(error: type[BaseException], image: ModelImage) -> None:
    with nothing_is_left(image), closing(SimulatedLink(image)) as link:
        driver = Driver(link)

        def fail(token: int) -> None:
            raise error(token)

        with pytest.raises(error):
            driver.generate(LONG, fail)
        assert driver.generate(JOB).tokens == golden(image).tokens


def test_a_machine_that_reports_an_error_is_ready_afterwards(image: ModelImage) -> None:
    """The memory is that of before, the damage too until it is mended."""
    with nothing_is_left(image), closing(SimulatedLink(image)) as link:
        driver = Driver(link)
        stream = image.plan.regions["stream"].offset
        good = bytes(link.read_memory(stream, 8))
        link.write_memory(stream, bytes(8))
        for _ in range(2):
            with pytest.raises(HardwareError, match="HEADER_CRC"):
                driver.generate(JOB)
        link.write_memory(stream, good)
        assert driver.generate(JOB).tokens == golden(image).tokens
        with pytest.raises(HardwareError, match="outside of the simulated memory"):
            link.read_memory(link.layout.end, 1)


@pytest.mark.parametrize("during", [True, False])
def test_a_simulator_that_is_killed(during: bool, image: ModelImage) -> None:
    """It is named, and the next run says that it is gone: its KV memory is."""
    with closing(SimulatedLink(image)) as link:
        driver = Driver(link)

        def kill(token: int | None = None) -> None:
            for process in simulators(image.path):
                os.kill(process, signal.SIGKILL)

        if not during:
            driver.generate(JOB)
            kill()
        with pytest.raises(HardwareError, match=r"(?s)the simulator failed: .*ended with signal 9"):
            driver.generate(LONG, kill)
        with pytest.raises(HardwareError, match=r"(?s)the simulator has ended, and its memory is lost: .*signal 9"):
            driver.generate(JOB)
    assert not simulators(image.path)


def test_a_killed_simulator_on_the_command_line(
    checkpoint: Path, image: ModelImage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3 and one sentence."""
    class Killed(SimulatedLink):
        def _limit_cycles(self, request: object) -> int:  # called just before the order
            self.read_memory(0, 1)
            for process in simulators(image.path):
                os.kill(process, signal.SIGKILL)
            return 0

    monkeypatch.setattr("sim.links.simulated.SimulatedLink", Killed)
    assert main(["generate", str(checkpoint), "--backend", "sim", "--prompt-ids", "1,2", "--image",
                 str(image.path)]) == 3
    captured = capsys.readouterr()
    assert captured.err.startswith("error: the simulator failed: ")
    assert captured.err.count("\n") == 1
    assert not captured.out


def test_a_silent_simulator_is_ended(image: ModelImage, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is stopped, for example."""
    with nothing_is_left(image), closing(SimulatedLink(image)) as link:
        run = link.run(LONG)
        next(run)
        monkeypatch.setattr(simulator_process, "SILENCE_S", 3)
        for process in simulators(image.path):
            os.kill(process, signal.SIGSTOP)
        with pytest.raises(HardwareError, match="the simulator was silent for 3 s and was ended"):
            list(run)


def test_a_run_beyond_its_limit_of_clocks(image: ModelImage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the abort that follows must wait for the memory."""
    with nothing_is_left(image), closing(SimulatedLink(image, 3)) as link:
        for limit in range(1000, 12_000, 1000):
            with monkeypatch.context() as patch:
                patch.setattr(link, "_limit_cycles", lambda _, limit=limit: limit)
                with pytest.raises(HardwareError, match=r"^the simulated accelerator did not finish within[^;]*$"):
                    Driver(link).generate(LONG)
        assert Driver(link).generate(JOB).tokens == golden(image).tokens


def test_a_bench_that_fails_is_quoted(image: ModelImage) -> None:
    with closing(SimulatedLink(image)) as link, pytest.raises(HardwareError, match="no_such_order"):
        link._memory("no_such_order")


def test_a_link_that_is_forgotten(image: ModelImage) -> None:
    with nothing_is_left(image):
        link = SimulatedLink(image)
        link.read_memory(0, 1)
        assert simulators(image.path)
        del link
        gc.collect()


SCRIPT = """
import sys
from pathlib import Path
from hw.contract.config import PRESETS
from sim.links.simulated import SimulatedLink
from sw.driver import Driver
from sw.image import ModelImage
from sw.requests import Job
config = PRESETS["tiny"]
link = SimulatedLink(ModelImage.open(Path(sys.argv[1]), config))
def token(number):
    print(number, flush=True)
    exec(sys.argv[2])
Driver(link).generate(Job(prompt=(1,), max_new_tokens=23, chunk=1), token)
"""


@pytest.mark.parametrize(("what", "status"), [
    ("pass", 0), ("raise ValueError", 1), ("raise SystemExit(7)", 7),
    ("import os, signal; os.kill(0, signal.SIGINT)", -signal.SIGINT),  # what Ctrl-C does: to all of the group
    ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
])
def test_nothing_outlives_the_program(what: str, status: int, image: ModelImage) -> None:
    """Which never closes its link."""
    with subprocess.Popen([sys.executable, "-c", SCRIPT, str(image.path), what], cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, start_new_session=True) as process:
        output, errors = process.communicate(timeout=300)
    assert process.returncode == status, errors.decode()
    assert output
    wait_until(lambda: not simulators(image.path))
    left = run_folders(process.pid)
    if status in (-signal.SIGTERM, -signal.SIGKILL):  # nobody is there to tidy up
        for folder in left:
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
    else:
        assert not left


def test_an_interrupt_on_the_command_line(checkpoint: Path, image: ModelImage) -> None:
    """As from the keyboard: exit code 130, and nothing is left."""
    with nothing_is_left(image):
        command = [sys.executable, "-m", "sw", "generate", str(checkpoint), "--backend", "sim", "--prompt-ids", "1",
                   "--image", str(image.path), "--max-new-tokens", "20"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              start_new_session=True) as process:
            assert process.stdout is not None
            assert process.stdout.read(1)
            os.killpg(process.pid, signal.SIGINT)
            _, errors = process.communicate(timeout=WAIT_S)
        assert process.returncode == 130
        assert errors == b"interrupted\n"
        assert not run_folders(process.pid)


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(WAIT_S * 10):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError(f"not within {WAIT_S} s")


def test_a_later_run_continues_a_sequence(image: ModelImage) -> None:
    """The KV memory stays in the simulator."""
    whole = golden(image)
    with closing(SimulatedLink(image)) as link:
        driver = Driver(link)
        driver.generate(replace(JOB, max_new_tokens=0))
        token, start = whole.tokens[0], len(JOB.prompt)
        rest = driver.generate(replace(JOB, prompt=(token,), start_position=start, max_new_tokens=3))
    assert rest.tokens == whole.tokens[1:]
