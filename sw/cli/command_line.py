"""Command line: `bitnet-fpga COMMAND` or `python -m sw COMMAND`.

Only typer is imported before a command runs, so that `--help` and usage errors are printed without delay.

Exit codes: 0 success (also if the reader of a pipe closed it early), 1 internal error, 2 bad input, bad usage or a
missing package or tool, 3 hardware error, 4 verification mismatch, 128 + N ended by signal N (130: interrupted). Every
error is a single sentence on stderr; an internal error also prints a traceback.
"""

from __future__ import annotations

import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Annotated, Protocol, runtime_checkable

import typer

from sw import OURS
from sw.cli.boards import boards
from sw.cli.build import build
from sw.cli.chat import chat
from sw.cli.doctor.command import doctor
from sw.cli.flash import flash
from sw.cli.generate import generate
from sw.cli.inspect import inspect
from sw.cli.make_checkpoint import make_checkpoint
from sw.cli.pack import pack
from sw.cli.plan import plan
from sw.cli.presets import presets
from sw.cli.profile import profile
from sw.cli.serve import serve
from sw.cli.verilog import verilog
from sw.errors import CheckpointError, HardwareError, ImageError, JobError, Terminated, VerificationError
from sw.streams import open_streams, settle_streams, tell

__all__ = ["app", "main"]

INTERNAL, BAD_INPUT, HARDWARE, VERIFICATION, INTERRUPTED = 1, 2, 3, 4, 130


@runtime_checkable
class UsageError(Protocol):
    """Usage error of typer or click, which prints its own message."""

    exit_code: int

    def show(self) -> None:
        """Print the message on stderr."""
        ...


app = typer.Typer(
    name="bitnet-fpga",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(inspect)
app.command()(make_checkpoint)
app.command()(pack)
app.command()(generate)
app.command()(chat)
app.command()(serve)
app.command()(profile)
app.command()(presets)
app.command()(plan)
app.command()(verilog)
app.command()(boards)
app.command()(build)
app.command()(flash)
app.command()(doctor)


def _version(wanted: bool) -> None:
    if wanted:
        from sw.installed import report

        print("\n".join(report()))
        raise typer.Exit


@app.callback()
def _about(version: Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help="Print versions, for a bug report.")
] = False) -> None:
    """Generate and run an FPGA accelerator for BitNet b1.58 language models."""


def _warn(message: Warning | str, *_: object) -> None:
    tell(f"warning: {message}")


def _sentence(error: Exception) -> str:
    """The message of an error on one line. The number of an operating system error is left out."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())


def _told(error: Exception) -> tuple[str, int]:
    """Message and exit code of an error. Prints the traceback of an internal error.

    Raises:
        ImportError: a package is missing that no extra installs. `sw/__main__.py` prints its name.
    """
    from hw.contract.config import ConfigError
    from hw.extras import what_is_missing
    from hw.tool import ToolError

    if isinstance(error, ImportError):
        absent = what_is_missing(error)
        if absent is not None:
            return absent, BAD_INPUT
        if error.name and error.name.split(".")[0] not in OURS:
            raise error
    if isinstance(error, (CheckpointError, ConfigError, ImageError, JobError, OSError, ToolError)):
        return _sentence(error), BAD_INPUT
    if isinstance(error, (HardwareError, VerificationError)):
        return _sentence(error), HARDWARE if isinstance(error, HardwareError) else VERIFICATION
    traceback.print_exc()
    return str(error), INTERNAL


def _run(arguments: Sequence[str] | None) -> int:
    """Run one command and return its exit code. Usage errors print their own message."""
    try:
        result = app(args=None if arguments is None else list(arguments), standalone_mode=False)
        sys.stdout.flush()
        if result == INTERRUPTED:  # typer returns this exit code for KeyboardInterrupt
            tell("interrupted")
        return result if isinstance(result, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        tell("interrupted")
        return INTERRUPTED
    except (BrokenPipeError, SystemExit):  # typer and rich raise SystemExit for a broken pipe
        return 0
    except Exception as error:
        if isinstance(error, UsageError):
            error.show()
            return BAD_INPUT
        sentence, code = _told(error)
        tell(f"{'internal error' if code == INTERNAL else 'error'}: {sentence}")
        return code


def _end_like_an_interrupt() -> list[int]:
    """Make SIGTERM and SIGHUP raise Terminated, a KeyboardInterrupt, so that unfinished files are removed.

    Returns a list to which each signal that arrives is appended.
    """
    came: list[int] = []

    def interrupt(number: int, _: object) -> None:
        came.append(number)
        raise Terminated

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # under nohup, for example, SIGHUP stays ignored
            signal.signal(number, interrupt)
    return came


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line with the given arguments (default: those of the process) and return the exit code."""
    signals: list[int] = []
    if arguments is None:
        open_streams()
        signals = _end_like_an_interrupt()
    try:
        with warnings.catch_warnings():
            if arguments is None:  # PYTHONWARNINGS must not hide or repeat warnings
                warnings.simplefilter("default", UserWarning)
            warnings.showwarning = _warn
            code = _run(arguments)
            return 128 + signals[0] if signals and code == INTERRUPTED else code
    finally:
        settle_streams()
