"""`bitnet-fpga pack`: convert a checkpoint to a model image."""

from __future__ import annotations

import enum
import json
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sw.cli.head import Head
from sw.errors import CheckpointError

if TYPE_CHECKING:
    from hw.contract.config import AccelConfig
    from sw.checkpoint import Checkpoint
    from sw.image import ModelImage

__all__ = ["Form", "pack"]


class Form(enum.Enum):
    """Format of the output file."""

    IMAGE = "image"
    MEM = "mem"


def _pack(
    checkpoint: Checkpoint, output: Path, config: AccelConfig, context: int | None, sequences: int, head: Head
) -> None:
    from sw.cli.progress import packing_bars
    from sw.model_source import pack_and_warn

    with packing_bars() as packing:
        pack_and_warn(checkpoint, output, config, context, sequences, packing, head is Head.SPLIT)


def pack(
    checkpoint: Annotated[str, typer.Argument(help="Folder with config.json and model.safetensors; or "
                                              "org/name[@revision] on the Hugging Face hub.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Image file to write.")],
    preset_name: Annotated[str | None, typer.Option("--preset", help="Accelerator configuration: a name or a TOML "
                                                    "file; default: tiny.")] = None,
    board_name: Annotated[str | None, typer.Option("--board", help="Board whose preset is used, unless --preset names "
                                                   "another.")] = None,
    context: Annotated[int | None, typer.Option(help="Positions of the KV cache; default: the model's own.")] = None,
    sequences: Annotated[int, typer.Option(help="KV slots, one for each sequence of a batch.")] = 1,
    head: Annotated[Head, typer.Option(help="split: also write the high plane, from which a preset with candidates "
                                       "chooses greedy tokens.")] = Head.FULL,
    form: Annotated[Form, typer.Option("--format", help="mem: $readmemh text, one beat per line.")] = Form.IMAGE,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Write the model image of a checkpoint for a preset or a board."""
    from sw.checkpoint import Checkpoint
    from sw.cli.target import choose_target
    from sw.image import ModelImage, write_mem
    from sw.model_source import located
    from sw.whole_file import whole_file

    config, _ = choose_target(board_name, preset=preset_name)
    opened = Checkpoint.open(located(checkpoint))
    _check_text(opened)
    if form is Form.IMAGE:
        _pack(opened, output, config, context, sequences, head)
        _report(ModelImage.open(output, config), output, as_json)
        return
    with whole_file(output, opened.files) as text, tempfile.TemporaryDirectory(dir=output.parent) as folder:
        binary = Path(folder) / "image"
        _pack(opened, binary, config, context, sequences, head)
        image = ModelImage.open(binary, config)
        write_mem(image, text)
    _report(image, output, as_json)


def _check_text(checkpoint: Checkpoint) -> None:
    """Warn of a tokenizer that does not fit the model. An image does not contain the tokenizer, so this is no error."""
    from sw.text import CheckpointText

    try:
        CheckpointText.open(checkpoint.path, checkpoint.config.vocab_size)
    except CheckpointError as error:
        warnings.warn(str(error), stacklevel=2)


def _report(image: ModelImage, output: Path, as_json: bool) -> None:
    """Print the summary on stdout."""
    summary = {
        "image": str(output),
        "preset": image.plan.config.name,
        "build_id": f"{image.plan.config.build_id:016x}",
        "image_bytes": len(image.memory),
        "kv_bytes": image.plan.kv_bytes,
        "regions": {r.name: {"offset": r.offset, "bytes": r.size, "crc32": f"{image.crcs[r.name]:08x}"}
                    for r in image.plan.regions.values()},
    }
    if as_json:
        print(json.dumps(summary, indent=2))
        return
    for region in image.plan.regions.values():
        print(f"{region.name:8} {region.size:>14,} bytes at {region.offset:#x}")
    print(f"{'total':8} {len(image.memory):>14,} bytes; the KV cache takes {image.plan.kv_bytes:,} more")
