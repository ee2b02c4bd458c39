"""`bitnet-fpga build`: build the bitstream of a board."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["build"]


def build(
    board_name: Annotated[str, typer.Option("--board", help="Board to build for; `bitnet-fpga boards` lists them.")],
    preset_name: Annotated[str | None, typer.Option("--preset", help="Accelerator configuration: a name or a TOML "
                                                    "file; default: the board's own.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder in which the board's own folder is made.")]
    = Path("build"),
    seed: Annotated[int | None, typer.Option(help="Seed of place and route; default: the board's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Build the bitstream and write report.json. Fails if a clock misses its required frequency. Takes many minutes.

    With another preset than the board's own, the folder is named BOARD-BUILD_ID. For a Zynq board, the output is a
    Vivado project. If Vivado is installed, it builds the bitstream from it.
    """
    from sw.cli.progress import console
    from sw.cli.target import choose_target
    from sw.whole_file import whole_file

    _, board = choose_target(board_name, preset=preset_name)
    assert board is not None
    folder = output / board.folder
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
