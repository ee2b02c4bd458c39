"""`bitnet-fpga inspect`: show or check the content of a checkpoint or a model image."""

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
"""Width of the tables, in characters, if the output is not a terminal."""


def _checked(path: Path) -> tuple[CheckResult, list[str]]:
    """Problems of the tensors, and inconsistencies among the other files of the folder.

    An unusable file does not end the check; the tensors are read in any case.
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
    """Print the findings. Raises CheckpointError if a tensor or a file cannot be used."""
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
        raise CheckpointError(f"{path} cannot be used: {len(result.refused)} refused; see the lines above")


def inspect(
    model: Annotated[str, typer.Argument(help="Folder with config.json and model.safetensors, org/name[@revision] on "
                                         "the Hugging Face hub, or a model image.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    thorough: Annotated[bool, typer.Option("--check", help="Read every tensor of a checkpoint and list errors and "
                                           "implausible values, instead of the tables.")] = False,
    preset_name: Annotated[str | None, typer.Option("--preset", help="Configuration of an image: a name or a TOML "
                                                    "file; default: the preset that it was packed for.")] = None,
) -> None:
    """Show configuration, tensors and ternary weights of a checkpoint, or model, regions and traffic of an image.

    With --check, the exit code is 2 if a tensor or a file cannot be used, and 0 if there are only warnings. An image is
    always read and checked completely.
    """
    from rich.console import Console

    from hw.contract.preset_file import find_preset
    from sw.checkpoint import Checkpoint
    from sw.image import image_header
    from sw.inspect import describe, render
    from sw.inspect_image import describe_image, image_lines
    from sw.model_source import located

    path = located(model)
    image = path.is_file()
    if preset_name is not None and not image:
        raise JobError("--preset applies to a model image, and a checkpoint has no preset: leave out --preset")
    config = None if preset_name is None else find_preset(preset_name)
    if thorough:
        if image:
            image_header(path)  # raises ImageError, which names the file, if it is not an image
            raise JobError("--check applies to checkpoints, and an image is always checked: leave out --check")
        _report(path, as_json)
        return
    description = describe_image(path, config) if image else describe(Checkpoint.open(path))
    if as_json:
        print(json.dumps(description, indent=2))
    elif image:
        print("\n".join(image_lines(description)))
    else:
        console = Console()
        if not console.is_terminal:
            console.width = FILE_WIDTH
        console.print(render(description))
