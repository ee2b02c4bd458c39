"""Command line: `bitnet-fpga COMMAND` or `python -m sw COMMAND`.

Nothing but typer is imported before a command runs, so that `--help` and a wrong option are answered at once.

Exit codes: 0 success (also where nobody reads the output to its end), 1 internal error, 2 bad input, bad
usage or something that is not installed, 3 hardware error, 4 verification mismatch, 128 + N ended by signal N (130:
interrupted). Every error but an internal one is a single sentence on stderr.
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
from sw.cli.doctor.command import doctor
from sw.cli.flash import flash
from sw.cli.generate import generate
from sw.cli.inspect import inspect
from sw.cli.pack import pack
from sw.cli.verilog import verilog
from sw.errors import CheckpointError, HardwareError, ImageError, JobError, VerificationError
from sw.streams import open_streams, settle_streams, tell

__all__ = ["app", "main"]

INTERNAL, BAD_INPUT, HARDWARE, VERIFICATION, INTERRUPTED = 1, 2, 3, 4, 130


@runtime_checkable
class UsageError(Protocol):
    """An error of usage, which prints its own message: typer's, or click's where typer has none of its own."""

    exit_code: int

    def show(self) -> None:
        """Prints it on stderr."""
        ...


app = typer.Typer(
    name="bitnet-fpga",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(inspect)
app.command()(pack)
app.command()(generate)
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
    bool, typer.Option("--version", callback=_version, is_eager=True, help="Print what a report of an error needs.")
] = False) -> None:
    """Generate and run an FPGA accelerator for BitNet b1.58 language models."""


def _warn(message: Warning | str, *_: object) -> None:
    tell(f"warning: {message}")


def _sentence(error: Exception) -> str:
    """The error on one line; an error of the operating system without its number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())


def _told(error: Exception) -> tuple[str, int]:
    """Sentence and exit code of an error, and its traceback where it is a bug.

    Raises ImportError where a package is missing that no extra brings: `sw/__main__.py` says which.
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
    """Run one command; its exit code. Usage errors print their own message."""
    try:
        result = app(args=None if arguments is None else list(arguments), standalone_mode=False)
        sys.stdout.flush()
        if result == INTERRUPTED:  # typer turns the interrupt into its exit code
            tell("interrupted")
        return result if isinstance(result, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        tell("interrupted")
        return INTERRUPTED
    except (BrokenPipeError, SystemExit):  # the latter is how typer and rich answer the former
        return 0
    except Exception as error:
        if isinstance(error, UsageError):
            error.show()
            return BAD_INPUT
        sentence, code = _told(error)
        tell(f"{'internal error' if code == INTERNAL else 'error'}: {sentence}")
        return code


def _end_like_an_interrupt() -> list[int]:
    """Signals that would end the process at once unwind it instead, so that nothing unfinished is left; which came."""
    came: list[int] = []

    def interrupt(number: int, _: object) -> None:
        came.append(number)
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # not where somebody has them ignored
            signal.signal(number, interrupt)
    return came


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line with the given arguments (default: those of the process); the exit code."""
    signals: list[int] = []
    if arguments is None:
        open_streams()
        signals = _end_like_an_interrupt()
    try:
        with warnings.catch_warnings():
            if arguments is None:  # what is told does not depend on PYTHONWARNINGS
                warnings.simplefilter("default", UserWarning)
            warnings.showwarning = _warn
            code = _run(arguments)
            return 128 + signals[0] if signals and code == INTERRUPTED else code
    finally:
        settle_streams()
