"""`bitnet-fpga inspect`: what a checkpoint or a memory image holds."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sw.errors import CheckpointError, JobError

if TYPE_CHECKING:
    from sw.check import CheckResult

__all__ = ["inspect"]

FILE_WIDTH = 120
"""Columns of the tables when the output is not a terminal."""


def _checked(path: Path) -> tuple[CheckResult, list[str]]:
    """What the tensors hold, and what the other files of the folder say that does not go together.

    A file that is refused does not hide what the tensors hold.
    """
    from sw.check import CheckResult, check
    from sw.checkpoint import Checkpoint
    from sw.cli.progress import bar
    from sw.text import CheckpointText

    result = CheckResult()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            opened = Checkpoint.open(path)
            with bar("check") as told_bytes:
                result = check(opened, told_bytes)
            CheckpointText.open(path, opened.config.vocab_size).check_prompts()
        except CheckpointError as error:
            result.refused.append(str(error))
    return result, list(dict.fromkeys(str(one.message) for one in told))


def _report(path: Path, as_json: bool) -> None:
    """Prints the findings. Raises CheckpointError if anything is refused."""
    result, told = _checked(path)
    sentences = list(result.doubts.sentences())
    if as_json:
        found: dict[str, Any] = {
            "checkpoint": str(path), "tensors": result.tensors, "refused": result.refused, "files": told,
            "warnings": [asdict(doubt) for doubt in result.doubts.found],
        }
        print(json.dumps(found, indent=2))
    else:
        for kind, lines in (("REFUSED", result.refused), ("warning", [*told, *sentences])):
            for line in lines:
                print(f"{kind:<8} {line}")
        print(f"{result.tensors} tensors read: {len(result.refused)} refused, {len(told) + len(sentences)} warnings")
    if result.refused:
        raise CheckpointError(f"{path} cannot be used as it is: {len(result.refused)} refused")


def inspect(
    path: Annotated[Path, typer.Argument(help="Folder with config.json and model.safetensors, or a memory image.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    thorough: Annotated[bool, typer.Option("--check", help="Read every tensor of a checkpoint and list what is wrong, "
                                           "or cannot be meant, instead of the tables.")] = False,
) -> None:
    """Show configuration, tensors and ternary weights of a checkpoint; or model, regions and traffic of an image.

    With --check the exit code is 2 if a tensor or a file cannot be used, and 0 if there are only warnings. An image is
    always read and checked as a whole.
    """
    from rich.console import Console

    from sw.checkpoint import Checkpoint
    from sw.image import image_header
    from sw.inspect import describe, render
    from sw.inspect_image import describe_image, image_lines

    image = path.is_file()
    if thorough:
        if image:
            image_header(path)  # raises for another file, by its name
            raise JobError("--check is for checkpoints: an image is read and checked whenever it is inspected")
        _report(path, as_json)
        return
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
