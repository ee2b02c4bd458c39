"""Process of a built simulator, which runs cocotb tests and writes a log and results. It can be ended at any time."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import cocotb_tools.config
from find_libpython import find_libpython

from sim.verilate import PROGRAM

__all__ = ["BenchError", "BenchProcess", "complaints"]

ROOT = Path(__file__).resolve().parent.parent
"""Folder of the project; cocotb imports the test modules from here."""


WAVES = Path("build/waves")
"""Where a VCD is kept, under the working folder."""


class BenchError(AssertionError):
    """A cocotb test failed; the text holds the names and messages of the failures."""


def _failures(results: Path) -> list[str]:
    """Name and message of every test of a results file that failed."""
    found = []
    cases = list(ElementTree.parse(results).iter("testcase"))
    if not cases:
        return ["no test was found"]
    for case in cases:
        for kind in ("failure", "error"):
            for failure in case.findall(kind):
                message = failure.get("message") or failure.get("error_msg") or (failure.text or "").strip()
                found.append(f"{case.get('name')}: {message}")
    return found


def complaints(lines: Sequence[str]) -> list[str]:
    """Error messages in the log, from watches of the design, the simulated memory and the simulator.

    A watch that fails (hw/watch.py) prints its text in a line; Verilator follows with the path of the unit.
    """
    found = []
    for before, line in zip(["", *lines], lines, strict=False):
        failed = re.search(r"%Error: .*Assertion failed in ([^:\s]+)", line)
        if failed:
            found.append(f"{failed[1]}: {before}")
        elif line.startswith("axi_memory:") or "%Fatal:" in line:
            found.append(line)
    return found


def _end(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Nothing runs, and nothing lies about."""
    process.kill()
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)


class BenchProcess:
    """Starts the tests of `test_module` on the simulator in the folder `model`, in a temporary folder of its own.

    The process ends with this object, with the interpreter, or when its tests do. Its folder goes with it, but for
    those of failed tests, whose log is named in the error, and for that of a VCD, which is in `build/waves`.
    """

    def __init__(
        self, model: Path, top: str, test_module: str, *, variables: Mapping[str, str], plusargs: Sequence[str] = (),
        testcase: str | None = None, waves: bool = False, descriptors: Sequence[int] = (),
    ) -> None:
        """Args: as of `sim.bench.start_bench`, which is what calls this."""
        if waves:
            WAVES.mkdir(parents=True, exist_ok=True)
        prefix = f"bitnet-fpga-{test_module.rpartition('.')[2]}-{os.getpid()}-"
        self._folder = Path(tempfile.mkdtemp(prefix=prefix, dir=WAVES.absolute() if waves else None))
        self._log, self._results, self._waves = self._folder / "simulation.log", self._folder / "results.xml", waves
        environment = {
            **os.environ,
            "GPI_USERS": f"{find_libpython()};{cocotb_tools.config.pygpi_entry_point()}",
            "PYGPI_PYTHON_BIN": sys.executable,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
            "LD_LIBRARY_PATH": os.pathsep.join(filter(None, [str(cocotb_tools.config.libs_dir),
                                                             os.environ.get("LD_LIBRARY_PATH")])),
            "COCOTB_TOPLEVEL": top,
            "COCOTB_TEST_MODULES": test_module,
            "COCOTB_RESULTS_FILE": str(self._results),
            "COCOTB_TRUST_INERTIAL_WRITES": "1",
            "COCOTB_ANSI_OUTPUT": "0",
            "TOPLEVEL_LANG": "verilog",
            **({"COCOTB_TEST_FILTER": rf"\.{re.escape(testcase)}$"} if testcase else {}),
            **variables,
        }
        command = [str(model / PROGRAM), *(["--trace"] if waves else []), *plusargs]
        try:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(command, cwd=self._folder, env=environment, stdin=subprocess.DEVNULL,
                                                 stdout=log, stderr=subprocess.STDOUT, pass_fds=descriptors)
        except BaseException:
            shutil.rmtree(self._folder)
            raise
        self.end = weakref.finalize(self, _end, self._process, self._folder)
        """Kills what still runs and removes the folder; harmless afterwards."""

    def last_words(self) -> str:
        """The last line of the log: of a bench that hangs, the test that does."""
        return next(reversed(self._log.read_text(errors="replace").splitlines()), "its log is empty").strip()

    def finish(self, timeout_s: float | None = None) -> None:
        """Waits until the tests have ended.

        Raises:
            BenchError: a test failed, or the simulator ended without a result.
            subprocess.TimeoutExpired: it still runs.
        """
        status = self._process.wait(timeout_s)
        if self._results.exists():
            failures = _failures(self._results)
        else:
            said = [line for line in self._log.read_text(errors="replace").splitlines() if "$finish" not in line]
            failures = [*([] if status < 0 else said[-1:]), "the simulator ended without a result"]
        if not failures and not status:
            if self._waves:
                self.end.detach()
                print(f"waves: {self._folder / 'dump.vcd'}")
            self.end()
            return
        self.end.detach()
        how = f"signal {-status}" if status < 0 else f"exit code {status}"
        said = self._log.read_text(errors="replace").splitlines()
        raise BenchError("\n".join([*complaints(said), *failures, f"the simulator ended with {how}",
                                    f"log: {self._log}"]))
