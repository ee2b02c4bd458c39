"""`bitnet-fpga inspect`: what a checkpoint or a memory image holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sw.checkpoint import Checkpoint
from sw.inspect import describe, render
from sw.inspect_image import describe_image, image_lines

__all__ = ["inspect"]

FILE_WIDTH = 120
"""Columns of the tables when the output is not a terminal."""


def inspect(
    path: Annotated[Path, typer.Argument(help="Folder with config.json and model.safetensors, or a memory image.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show configuration, tensors and ternary weights of a checkpoint; or model, regions and traffic of an image."""
    image = path.is_file()
    description = describe_image(path) if image else describe(Checkpoint.open(path))
    if as_json:
        print(json.dumps(description, indent=2))
    elif image:
        print("\n".join(image_lines(description)))
    else:
        console = Console()
        if not console.is_terminal:
            console.width = FILE_WIDTH
        console.print(render(description))
