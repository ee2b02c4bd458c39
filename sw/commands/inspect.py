"""`bitnet-fpga inspect`: what a checkpoint holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sw.checkpoint import Checkpoint
from sw.inspect import describe, render

__all__ = ["inspect"]

FILE_WIDTH = 120
"""Columns of the tables when the output is not a terminal."""


def inspect(
    checkpoint: Annotated[Path, typer.Argument(help="Folder with config.json and model.safetensors.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show the configuration, the tensors and the ternary weights of a checkpoint."""
    description = describe(Checkpoint.open(checkpoint))
    if as_json:
        print(json.dumps(description, indent=2))
    else:
        console = Console()
        if not console.is_terminal:
            console.width = FILE_WIDTH
        console.print(render(description))
