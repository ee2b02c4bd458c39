"""`bitnet-fpga generate`: text from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["generate"]


def generate(
    checkpoint: Annotated[Path, typer.Argument(help="Folder with config.json, model.safetensors, tokenizer.json.")],
    prompt: Annotated[str | None, typer.Option(help="Text to continue.")] = None,
    prompt_ids: Annotated[str | None, typer.Option(help="Token ids, used verbatim: 1,2,3.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Tokens to generate at most; 0 scores the prompt.")] = 32,
    board_name: Annotated[str | None, typer.Option("--board", help="Run on this board, which decides preset and "
                                                   "backend; `bitnet-fpga boards` lists them.")] = None,
    backend: Annotated[str | None, typer.Option(help="golden (NumPy), sim (Verilog), serial or mmap (a board); "
                                                "default: golden.")] = None,
    preset_name: Annotated[str | None, typer.Option("--preset", help="Accelerator configuration; default: "
                                                    "tiny.")] = None,
    batch: Annotated[Path | None, typer.Option(help="Many prompts that decode together, a JSON object a line.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Draw tokens from logits / T; default: 0, greedy.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Draw from so many of the largest logits; default: all.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Draw from the likeliest with P together; default: 1.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of what is drawn; default: 0. Line n of a batch: +n.")] = None,
    generation_config: Annotated[
        bool, typer.Option("--generation-config", help="Take the defaults of these from generation_config.json.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object, as a line of --batch.")] = False,
    chunk: Annotated[int | None, typer.Option(help="Prompt tokens per pass; default: the preset's columns.")] = None,
    logits: Annotated[Path | None, typer.Option(help="Write ids, tokens and logits to this .npz.")] = None,
    context: Annotated[int | None, typer.Option(help="Positions of the KV cache; default: the model's own.")] = None,
    image: Annotated[Path | None, typer.Option(help="Packed image of this checkpoint; default: pack now.")] = None,
    stats: Annotated[Path | None, typer.Option(help="Write clocks and counters to this .json (not golden).")] = None,
    scrub: Annotated[bool, typer.Option("--scrub", help="Compare the image in the machine's memory with its CRCs, "
                                        "before and after (not for golden).")] = False,
    memory_seed: Annotated[int, typer.Option(help="Random memory timing; 0: fixed latency (backend sim).")] = 0,
    port: Annotated[str, typer.Option(help="Serial port; auto: the first with a board (backend serial).")] = "auto",
    simulate: Annotated[bool, typer.Option("--simulate", help="Run on the whole board in Verilator, its serial line "
                                           "and memory chip included (needs --board).")] = False,
) -> None:
    """Generate text, greedily or with a temperature; says on stderr why it stopped.

    A line of --batch is {"prompt": TEXT} or {"prompt_ids": [1, 2, 3]}, with "max_new_tokens" and "seed" where they
    differ from the options. A line {"prompt_ids", "tokens", "text", "stopped"} comes out for each, in the same order,
    with "temperature", "top_k", "top_p" and "seed" if its tokens were drawn.
    """
    from sw.cli.generation import Options, run

    run(Options(
        checkpoint=checkpoint, prompt=prompt, prompt_ids=prompt_ids, max_new_tokens=max_new_tokens,
        board_name=board_name, backend=backend, preset_name=preset_name, batch=batch, temperature=temperature,
        top_k=top_k, top_p=top_p, seed=seed, generation_config=generation_config, as_json=as_json, chunk=chunk,
        logits=logits, context=context, image=image, stats=stats, scrub=scrub, memory_seed=memory_seed, port=port,
        simulate=simulate,
    ))
