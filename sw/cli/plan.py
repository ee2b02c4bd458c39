"""`bitnet-fpga plan`: which presets and boards run a checkpoint, in how much memory, and how fast at most."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sw.model_config import ModelConfig

__all__ = ["plan"]

WIDTH = 80
"""Characters of a line."""


def _model(path: Path) -> ModelConfig:
    """The configuration in a folder, or in a file config.json. No tensor file is read. Raises CheckpointError."""
    from sw.errors import CheckpointError
    from sw.model_config import ModelConfig, read_json

    file = path / "config.json" if path.is_dir() else path
    if not file.is_file():
        raise CheckpointError(f"{file} does not exist: give the folder of a checkpoint, or its config.json")
    return ModelConfig.parse(read_json(file))


def _brief(one: dict[str, Any]) -> str:
    """A misfit as a comparison with its field."""
    if one["multiple"]:
        return f"vector {one['supported']} does not divide {one['what']} {one['needed']:,}"
    return f"{one['field'] or 'most'} {one['supported']:,} < {one['what']} {one['needed']:,}"


def _summary(found: dict[str, Any]) -> str:
    """One line for one target."""
    name = found["board"] or found["preset"]
    if not found["runs"]:
        brief = [_brief(one) for one in found["misfits"]] or found["why"]
        if found["misfits"] and found["longest_context"]:
            brief.append(f"--context {found['longest_context']} fits")
        return f"  {name:<11} no: {'; '.join(brief)}"
    text = f"  {name:<11} yes: {found['bytes']['total']:,} bytes of memory"
    if found["projection"]:
        text += f", projected {found['projection'][-1]['tokens_per_s']:,.1f} tokens/s"
    return text


def _details(found: dict[str, Any]) -> Iterator[str]:
    """All of one target."""
    at = f"board {found['board']}, " if found["board"] else ""
    runs = "runs it" if found["runs"] else "does not run it"
    yield f"{at}preset {found['preset']}, build {found['build_id']}: {runs}"
    for why in [_brief(one) for one in found["misfits"]] or found["why"]:
        yield f"  {why}"
    if found["bytes"]:
        yield "bytes of memory"
        for name, size in found["bytes"].items():
            yield f"  {name:<24} {size:>16,}"
        if found["memory_bytes"] is not None:
            yield f"  {'memory of the board':<24} {found['memory_bytes']:>16,}"
    if found["longest_context"] is not None:
        yield f"longest context: {found['longest_context']:,} positions"
    if found["load_s"] is not None:
        image, seconds = found["bytes"]["image"], found["load_s"]
        yield f"load time, projected: {image:,} bytes / {image / seconds:,.0f} bytes/s = {seconds:,.1f} s"
    for one in found["projection"] or ():
        yield (f"projected, not measured, behind {one['cached_positions']:,} positions: "
               f"{one['tokens_per_s']:,.1f} tokens/s")
        yield (f"  bytes: {one['passes']} x {one['weights_bytes']:,} of weights + {one['sequences']} x "
               f"({one['head_bytes']:,} of LM head + {one['kv_bytes']:,} of KV cache) = {one['required_bytes']:,}")
        yield (f"  {one['sequences']} x {one['bytes_per_s']:,.0f} bytes/s / {one['required_bytes']:,} bytes; bound by "
               f"{one['bound']}")


def plan(
    checkpoint: Annotated[Path, typer.Argument(help="Folder with config.json, or that file; tensors are not needed.")],
    preset_name: Annotated[str | None, typer.Option("--preset", help="Only this configuration: a name or a TOML file."
                                                    )] = None,
    board_name: Annotated[str | None, typer.Option("--board", help="Only this board.")] = None,
    context: Annotated[int | None, typer.Option(help="Positions of the KV cache; default: the model's own.")] = None,
    sequences: Annotated[int, typer.Option(help="KV slots, one for each sequence of a batch.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which presets and boards run a checkpoint, from config.json alone: memory, longest context, load time, speed.

    Speed is a projection: the sequential bandwidth of the board's memory divided by the bytes that a token requires.
    It leaves out all time that does not read memory. The exit code is 0 also where nothing runs the checkpoint.
    """
    from hw.contract.config import PRESETS
    from sw.cli.boards import known_boards
    from sw.cli.plan_target import target_plan
    from sw.cli.target import choose_target
    from sw.pack import config_shape

    model = _model(checkpoint)
    shape = config_shape(model, context, sequences)
    chosen = preset_name is not None or board_name is not None
    absent: dict[str, str] = {}
    if chosen:
        targets = [choose_target(board_name, preset=preset_name)]
    else:
        known, absent = known_boards()
        targets = [*((config, None) for config in PRESETS.values()), *((one.config, one) for one in known.values())]
    found = [target_plan(config, shape, model.max_position_embeddings, board) for config, board in targets]
    if as_json:
        print(json.dumps({"checkpoint": str(checkpoint), "model": dataclasses.asdict(shape), "targets": found,
                          "unknown_boards": absent}, indent=2))
        return
    lines = [f"model: {shape.layers} layers, hidden {shape.hidden:,}, FFN {shape.intermediate:,}, {shape.heads} heads "
             f"and {shape.kv_heads} KV heads of {shape.head_dim}, vocabulary {shape.vocab:,}; context "
             f"{shape.context:,}, {shape.sequences} KV slots"]
    if chosen:
        lines += _details(found[0])
    else:
        lines += ["presets", *(_summary(one) for one in found if not one["board"])]
        lines += ["boards", *(_summary(one) for one in found if one["board"])]
        lines += [f"  {name:<11} unknown: {why}" for name, why in absent.items()]
        lines += ["Projected, not measured: tokens/s behind a full context. --preset or --board shows bytes by region "
                  "and the arithmetic."]
    print("\n".join(textwrap.fill(line, WIDTH, subsequent_indent="    ", break_on_hyphens=False) for line in lines))
