"""What is kept in the cache: whole models alone, each built once; nothing of a build that ended before its time."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hw.tool import CACHE_VARIABLE, ToolError
from sim import model_cache
from sim.model_cache import cached, simulators
from sim.verilate import PROGRAM
from tests.sim.fakes import WAIT_S, fake, processes, wait_for

pytestmark = pytest.mark.usefixtures("cache")

ROOT = Path(__file__).parents[2]
DEMO = str(ROOT / "models" / "shakespeare-nano")


def make_it(folder: Path, log: Path) -> None:
    """A build that succeeds."""
    log.write_text("made\n")
    (folder / PROGRAM).write_text("")



@pytest.mark.parametrize("place", ["file/cache", "/proc/cache", "/dev/null"])
def test_cache_that_cannot_be_written(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / place))
    sentence = rf"cannot write a simulator to {tmp_path / place}/simulators \(.*set {CACHE_VARIABLE}"
    with pytest.raises(ToolError, match=sentence):
        cached("model", make_it)


def test_disk_that_is_full() -> None:
    """No half of a model is taken for a whole one."""
    def fill_up(folder: Path, log: Path) -> None:
        make_it(folder, log)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(ToolError, match=r"\(No space left on device\): free some space there, or set BITNET"):
        cached("model", fill_up)
    assert {path.name for path in simulators().iterdir()} == {"model.lock"}
    assert (cached("model", make_it) / "build.log").read_text() == "made\n"


def test_model_of_which_a_part_was_removed() -> None:
    (cached("model", make_it) / PROGRAM).unlink()
    assert (cached("model", make_it) / PROGRAM).exists()


def test_build_that_makes_nothing() -> None:
    with pytest.raises(ToolError, match=r"reported no error, but built no simulator: see .*nothing\.log"):
        cached("nothing", lambda folder, log: log.touch())
    assert not (simulators() / "nothing").exists()


def test_leftover_that_is_not_ours() -> None:
    """Its lock cannot be opened, as that of another user: nothing to do with this build."""
    simulators().mkdir(parents=True)
    (simulators() / "other.0123.building").mkdir()
    (simulators() / "other.lock").mkdir()
    assert (cached("model", make_it) / PROGRAM).exists()
    assert (simulators() / "other.0123.building").exists()


BUILDER = """
import os, sys, time
from pathlib import Path
from hw.tool import run_tool
from sim.model_cache import cached
def build(folder, log):
    run_tool([sys.argv[1]], folder, log, timeout_s=60)
    (folder / "simulator").write_text("")
{before}
cached("model", build)
print("built")
"""
INTERRUPTED = "import signal\ndef end(*_): raise KeyboardInterrupt\nfor n in (1, 15): signal.signal(n, end)"
"""As the command line does it (sw/cli/command_line.py)."""


def builder(tool: Path, before: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", BUILDER.format(before=before), str(tool)], cwd=ROOT, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def test_two_processes_build_once(tmp_path: Path) -> None:
    count = tmp_path / "count"
    tool = fake(tmp_path / "tool", f"echo built >> '{count}'; sleep 1")
    both = [builder(tool) for _ in range(2)]
    assert [process.communicate(timeout=WAIT_S) for process in both] == [("built\n", "")] * 2
    assert count.read_text() == "built\n"


def test_another_process_that_builds_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it builds is left alone, also by a build of another model; what nobody builds is removed."""
    with builder(fake(tmp_path / "for-ever", "echo started; exec sleep 1000")) as process:
        wait_for(lambda: processes("sleep\x001000"))
        (theirs,) = simulators().glob("model.*.building")
        (simulators() / "other.0a0b0c0d.building").mkdir()
        (simulators() / "other.log").touch()
        monkeypatch.setattr(model_cache, "WAIT_S", 0.2)
        with pytest.raises(ToolError, match=r"another process has been building the simulator .* for 0\.2 s"):
            cached("model", make_it)
        cached("mine", make_it)
        assert [path.name for path in simulators().glob("*.building")] == [theirs.name]
        assert [path.name for path in simulators().glob("*.log")] == ["model.log"]
        process.kill()
    wait_for(lambda: not processes(str(tmp_path / "for-ever")))  # although nobody could tell it to end
    cached("mine too", make_it)
    assert not list(simulators().glob("*.building"))


@pytest.mark.parametrize("how, to_group", [
    (signal.SIGINT, True), (signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGTERM, True),
    (signal.SIGHUP, False),
])
def test_build_that_is_interrupted(how: int, to_group: bool, tmp_path: Path) -> None:
    """Nothing runs, and nothing lies about: no folder, no temporary file of a compiler."""
    tool = fake(tmp_path / "compiler", 'touch "$TMPDIR/ccXYZ.s" started; sleep 1000 & trap "" INT TERM HUP; sleep 1000')
    with builder(tool, INTERRUPTED) as process:
        wait_for(lambda: list(simulators().glob("model.*.building/started")))
        temporary = list(Path(tempfile.gettempdir()).glob("bitnet-fpga-*/ccXYZ.s"))
        (os.killpg if to_group else os.kill)(process.pid, how)
        process.communicate(timeout=WAIT_S)
    assert process.returncode == -signal.SIGINT
    assert {path.name for path in simulators().iterdir()} == {"model.lock"}
    assert not processes(str(tool))
    assert temporary
    assert not any(path.exists() for path in temporary)


def test_command_that_is_terminated(tmp_path: Path) -> None:
    tool = fake(tmp_path / "slow-yosys", f"touch '{tmp_path}/started'; sleep 1000")
    command = [sys.executable, "-m", "sw", "generate", DEMO, "--backend", "sim", "--prompt", "R"]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | {"YOSYS": str(tool)}, stderr=subprocess.PIPE,
                          text=True) as process:
        wait_for((tmp_path / "started").exists)
        process.terminate()
        _, errors = process.communicate(timeout=WAIT_S)
    assert (process.returncode, errors) == (143, "interrupted\n")
    assert not processes(str(tool))
    assert not list(simulators().glob("*.building"))
