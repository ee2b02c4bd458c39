"""`bitnet-fpga build`: the bitstream of a board."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["build"]


def build(
    board_name: Annotated[str, typer.Option("--board", help="Board to build for; `bitnet-fpga boards` lists them.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder that gets one of the board's name.")] = Path(
        "build"),
    seed: Annotated[int, typer.Option(help="Seed of place and route.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Write the bitstream and report.json; fails unless every clock reaches what the board needs. Takes many minutes.

    For a Zynq: a project, of which Vivado makes the bitstream if it is installed.
    """
    from boards import board as board_of
    from sw.cli.progress import console
    from sw.whole_file import whole_file

    board = board_of(board_name)
    folder = output / board.name
    folder.mkdir(parents=True, exist_ok=True)
    with console().status(f"building {board.name}: synthesis, then place and route (logs are in {folder})"):
        result = board.build(folder, seed)
    for name, content in result.files.items():
        with whole_file(folder / name) as file:
            file.write(content)
    if as_json:
        print(json.dumps(result.report, indent=2))
    else:
        print("\n".join(result.lines))
