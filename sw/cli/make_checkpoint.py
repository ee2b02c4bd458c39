"""`bitnet-fpga make-checkpoint`: write a random checkpoint in the layout of a published one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["make_checkpoint"]


def make_checkpoint(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write; it must not exist yet.")],
    like: Annotated[str, typer.Option(help="Layout: 2b-4t (packed weights) or 2b-4t-bf16 (master weights).")] = "2b-4t",
    layers: Annotated[int | None, typer.Option(help="Layers; as the following sizes, default: the layout's.")] = None,
    hidden: Annotated[int | None, typer.Option(help="Width of the residual stream: heads times head size.")] = None,
    intermediate: Annotated[int | None, typer.Option(help="Width of the feed-forward network.")] = None,
    heads: Annotated[int | None, typer.Option(help="Query heads.")] = None,
    kv_heads: Annotated[int | None, typer.Option(help="Key and value heads.")] = None,
    head_dim: Annotated[int | None, typer.Option(help="Head size; default: hidden / heads.")] = None,
    vocab: Annotated[int | None, typer.Option(help="Size of the vocabulary, and of the tokenizer.")] = None,
    positions: Annotated[int | None, typer.Option(help="Most positions of a sequence.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the weights. Same options, same bytes.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Replace the checkpoint in an existing folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Write a checkpoint with random weights in the layout of a published one, with tokenizer and chat template.

    It stands in for the published checkpoint where only sizes matter: to try commands, and to measure memory, time and
    clocks. The text that it generates has no meaning.
    """
    from sim.layouts import layout
    from sim.stand_in import StandIn
    from sw.cli.progress import bar

    named = {"layers": layers, "hidden": hidden, "intermediate": intermediate, "heads": heads, "kv_heads": kv_heads,
             "head_dim": head_dim, "vocab": vocab, "positions": positions}
    sizes = {name: size for name, size in named.items() if size is not None}
    stand_in = StandIn.of(layout(like), sizes, seed)
    with bar("write", speed=True) as progress:
        stand_in.write(output, force, progress)
    written = sum(file.stat().st_size for file in output.iterdir())
    summary = {
        "checkpoint": str(output), "like": stand_in.like.published, "seed": seed, "bytes": written,
        **{name: size for name, size in vars(stand_in.model).items() if name in named},
    }
    if as_json:
        print(json.dumps(summary, indent=2))
    else:
        print(f"{output}: {written:,} bytes, random weights of seed {seed} in the layout of {stand_in.like.published}")
