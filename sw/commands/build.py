"""`bitnet-fpga build`: the bitstream of a board."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sw.whole_file import whole_file

__all__ = ["build"]


def build(
    board_name: Annotated[str, typer.Option("--board", help="Board to build for; `bitnet-fpga boards` lists them.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder that gets one of the board's name.")] = Path(
        "build"),
    seed: Annotated[int, typer.Option(help="Seed of place and route.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Write BOARD.bit and report.json; fails unless every clock reaches what the board needs. Takes many minutes."""
    board = import_module("boards").board(board_name)
    folder = output / board.name
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True, quiet=not sys.stderr.isatty())
    with console.status(f"building {board.name}: synthesis, then place and route ({folder}/work has the logs)"):
        soc = import_module("boards.soc").Soc(board)
        result = import_module("boards.build").build(board, soc, folder / "work", seed)
    path = folder / f"{board.name}.bit"
    with whole_file(path) as file:
        file.write(result.content)
    report = json.dumps(result.report, indent=2) + "\n"
    with whole_file(folder / "report.json") as file:
        file.write(report.encode())
    if as_json:
        print(report, end="")
        return
    print(f"{path}: {len(result.content):,} bytes, preset {board.config.name}, build {result.report['build_id']}")
    for name, count in result.report["resources"].items():
        print(f"  {name:<10} {count['used']:>6} of {count['available']}")
    for net, clock in result.report["clocks"].items():
        print(f"  {net}: {clock['fmax_mhz']} MHz, needs {clock['required_mhz']}")
