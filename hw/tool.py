"""External tools: compilers, simulators, synthesis. This file starts them and reports their failures.

A tool runs in a process group of its own, together with all processes that it starts, except those that create a
session of their own. The group ends with the call: when the tool ends, at an interrupt, after a time-out, and when this
process dies in any way.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

import platformdirs

__all__ = [
    "CACHE_VARIABLE", "ToolError", "cache_folder", "ending_tools", "only_one", "require_tools", "run_tool",
    "tool_status",
]

CACHE_VARIABLE = "BITNET_FPGA_CACHE"
"""Environment variable that names another folder for what is kept to save time."""

GUARD = """
exec 3<&0 </dev/null 4>&2 2>/dev/null
[ "$0" = deep ] && ulimit -s unlimited
(read -r _ <&3; kill -KILL 0) &
guard=$!
exec 3<&-
(exec "$@" 2>&4 4>&-)
code=$?
kill "$guard"
wait "$guard"
exit "$code"
"""
"""Runs a command in a group whose processes are killed when standard input, a pipe, has no writer any more. With `deep`
as its name it gives the command all the stack there may be, as Verilator's own script does."""

CANNOT_START = (126, 127)
"""Exit codes of a shell for a program that exists and does not start."""

MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
"""Variables that `make` sets for the `make` that it calls."""

GONE_S = 2
"""Seconds that killed processes may take to be gone."""

CHECK_S = 0.2
"""Seconds between two calls of the check of `ending_tools`."""

FULL_BYTES = 1 << 20
"""The error of a tool that fails names a disk with fewer free bytes: some tools only report incomplete files."""


class ToolError(RuntimeError):
    """An external tool is missing or fails, or its output has no place on the disk. Exit code 2."""


def cache_folder() -> Path:
    """Where to keep what can be made again: the user's cache folder, or what CACHE_VARIABLE names.

    Raises ToolError for a user who has no folder.
    """
    folder = Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_path("bitnet-fpga"))
    if folder.parts[:1] == ("~",):
        raise ToolError(f"{folder} has no home folder in place of its ~ to keep simulators in: set {CACHE_VARIABLE} to "
                        "another folder")
    return folder.absolute()


def require_tools(names: Sequence[str], packages: str) -> None:
    """Raises ToolError, with the Debian packages to install, if one of the programs is missing."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise ToolError(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing: "
                        f"sudo apt-get install {packages}")


def _runs(group: int) -> bool:
    """Whether a process of the group is alive; dead ones remain in /proc until their parent collects them."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, its_group, *_ = path.read_bytes().rpartition(b")")[2].split()  # a name may be cut in a letter
            if int(its_group) == group and state not in b"ZX":
                return True
    return False


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and all of its group, and waits until they are gone, so that their files can be removed."""
    end = time.monotonic() + GONE_S
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
        while _runs(process.pid) and time.monotonic() < end:
            time.sleep(0.01)


_check: ContextVar[Callable[[], None]] = ContextVar("check", default=lambda: None)


@contextmanager
def ending_tools(check: Callable[[], None]) -> Iterator[None]:
    """While this thread waits for tools in the block, `check` is called every CHECK_S; what it raises ends the tool."""
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> int:
    """Exit code of a process. Raises subprocess.TimeoutExpired, and what the check raises."""
    end = time.monotonic() + timeout_s
    while True:
        _check.get()()
        try:
            return process.wait(max(0, min(CHECK_S, end - time.monotonic())))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= end:
                raise


def _existing(folder: Path) -> Path:
    """The folder, or the one above it in which it would be made."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def _environment(extra: Mapping[str, str], temporary: str) -> dict[str, str]:
    """For a program: files of its own go to `temporary`; nothing of a `make` that has called this process."""
    environment = {name: value for name, value in os.environ.items() if name not in MAKE}
    # Yosys and nextpnr of YoWASP keep themselves compiled.
    if CACHE_VARIABLE in environment and os.access(_existing(cache_folder()), os.W_OK):
        environment.setdefault("YOWASP_CACHE_DIR", str(cache_folder() / "yowasp"))
    return environment | {"TMPDIR": temporary} | extra


def tool_status(
    command: Sequence[str], folder: Path, log: Path, *, timeout_s: float, environment: Mapping[str, str] | None = None,
    deep: bool = False,
) -> int:
    """Run a program in a folder, and append what it prints to `log`; its exit code, 128 + N for signal N.

    A program's path may be relative to the folder, and must not be to anything else.
    `environment` is added to that of this process; a `deep` program may need much stack.

    Raises ToolError: it is missing, cannot start, or does not end within the time.
    """
    program = folder / command[0] if os.path.dirname(command[0]) else command[0]
    if shutil.which(program) is None:
        raise ToolError(f"{command[0]} is missing: install it, or put it into the PATH")
    guarded = ["/bin/sh", "-c", GUARD, "deep" if deep else "sh", *command]
    with tempfile.TemporaryDirectory(prefix="bitnet-fpga-", ignore_cleanup_errors=True) as temporary:
        with log.open("ab") as output:
            process = subprocess.Popen(
                guarded, cwd=folder, stdin=subprocess.PIPE, stdout=output, stderr=output,
                env=_environment(environment or {}, temporary), start_new_session=True,
            )
        try:
            code = _wait(process, timeout_s)
        except subprocess.TimeoutExpired as error:
            raise ToolError(f"{Path(command[0]).name} did not end within {timeout_s:g} s: {_complaint(log)}; all it "
                            f"said is in {log}") from error
        finally:
            try:
                _kill_group(process)
            finally:
                process.wait()
                assert process.stdin is not None
                process.stdin.close()
    if code in CANNOT_START:
        raise ToolError(f"{command[0]} is there but does not start ({_complaint(log)}); if its folder was moved, run "
                        "`make setup` again")
    return code if code >= 0 else 128 - code


def run_tool(
    command: Sequence[str], folder: Path, log: Path | None = None, *, timeout_s: float,
    environment: Mapping[str, str] | None = None, deep: bool = False,
) -> None:
    """As `tool_status`; raises ToolError also if the exit code is not 0. Without a `log`, that of a failure is kept."""
    name, named, kept = Path(command[0]).name, False, log
    if kept is None:
        descriptor, path = tempfile.mkstemp(prefix=f"bitnet-fpga-{name}-", suffix=".log")
        os.close(descriptor)
        kept = Path(path)
    try:
        code = tool_status(command, folder, kept, timeout_s=timeout_s, environment=environment, deep=deep)
        if code:
            how = f"signal {code - 128}" if 128 < code <= 128 + signal.SIGRTMAX else f"exit code {code}"
            free = shutil.disk_usage(folder).free
            full = f"; the disk of {folder} is full, {free} bytes are free" if free < FULL_BYTES else ""
            raise ToolError(f"{name} failed with {how}: {_complaint(kept)}{full}; all it said is in {kept}")
    except ToolError as error:
        named = str(kept) in str(error)
        raise
    finally:
        if log is None and not named:
            kept.unlink(missing_ok=True)


def _complaint(log: Path) -> str:
    """What a program said of its failure: the first line with an error but those of make, or the last lines."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"(error|fatal)\b\S*:|no space left|[*]{3}", line, re.I)
              and not re.match(r"g?make\b", line)]
    return (errors[0] if errors else " / ".join(lines[-3:]) or "it said nothing")[:1000]


@contextmanager
def only_one(lock: Path, timeout_s: float, sentence: str) -> Iterator[None]:
    """One process after the other; a process that dies lets the next one in.

    Raises ToolError with the sentence if it was not this one's turn within the time.
    """
    end = time.monotonic() + timeout_s
    with lock.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= end:
                    raise ToolError(sentence) from error
            _check.get()()
            time.sleep(0.1)
        yield
