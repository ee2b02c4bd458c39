"""`bitnet-fpga generate`: generate text from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sw.cli.head import Head

__all__ = ["generate"]


def generate(
    checkpoint: Annotated[str, typer.Argument(help="Folder with config.json, model.safetensors, tokenizer.json; or "
                                              "org/name[@revision] on the Hugging Face hub.")],
    prompt: Annotated[str | None, typer.Option(help="Text to continue.")] = None,
    prompt_ids: Annotated[str | None, typer.Option(help="Token ids, used verbatim: 1,2,3.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Most tokens to generate; 0 only scores the prompt.")] = 32,
    board_name: Annotated[str | None, typer.Option("--board", help="Run on this board, which sets backend and "
                                                   "preset; `bitnet-fpga boards` lists the boards.")] = None,
    backend: Annotated[str | None, typer.Option(help="golden (NumPy), sim (Verilog), serial or mmap (a board); "
                                                "default: golden.")] = None,
    preset_name: Annotated[str | None, typer.Option("--preset", help="Accelerator configuration: a name or a TOML "
                                                    "file; default: tiny.")] = None,
    batch: Annotated[Path | None, typer.Option(help="File of prompts to decode together, a JSON object per line.")]
    = None,
    temperature: Annotated[float | None, typer.Option(help="Draw tokens from logits / T; default: 0, greedy.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Draw from the K largest logits; default: all.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Draw from the likeliest tokens whose probabilities sum to P; "
                                                "default: 1.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the draws; default: 0. Prompt n of a batch: seed + n.")]
    = None,
    generation_config: Annotated[
        bool, typer.Option("--generation-config", help="Take the defaults of the four options above from the "
                           "checkpoint's generation_config.json.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object, as --batch does for each prompt.")]
    = False,
    chunk: Annotated[int | None, typer.Option(help="Prompt tokens per pass; default: the preset's columns.")] = None,
    logits: Annotated[Path | None, typer.Option(help="Write prompt ids, tokens and logits to this .npz file.")] = None,
    context: Annotated[int | None, typer.Option(help="Positions of the KV cache; default: the model's own.")] = None,
    image: Annotated[Path | None, typer.Option(help="Packed image of this checkpoint; default: pack now.")] = None,
    head: Annotated[Head, typer.Option(help="split: choose greedy tokens from half of the LM head's bytes (a preset "
                                       "with candidates).")] = Head.FULL,
    stats: Annotated[Path | None, typer.Option(help="Write clocks and counters to this .json file (not golden).")]
    = None,
    scrub: Annotated[bool, typer.Option("--scrub", help="Check the image in the accelerator's memory against its CRCs, "
                                        "before and after (not golden).")] = False,
    memory: Annotated[str | None, typer.Option(help="Simulated memory: ideal (fixed latency), ddr4-2133, ddr4-2400, "
                                               "ddr3-x16, sdr-x16 or hbm; default: ideal (backend sim).")] = None,
    memory_seed: Annotated[int, typer.Option(help="Random stalls of the memory; 0: none (backend sim).")] = 0,
    port: Annotated[str, typer.Option(help="Serial port; auto: the first with a board (backend serial).")] = "auto",
    simulate: Annotated[bool, typer.Option("--simulate", help="Simulate the whole board in Verilator, with its serial "
                                           "link and memory chip (needs --board).")] = False,
    chat: Annotated[bool, typer.Option("--chat", help="Make the prompt the message of a user, with the checkpoint's "
                                       "chat template.")] = False,
    system: Annotated[str | None, typer.Option(help="System prompt (with --chat).")] = None,
    chat_template: Annotated[Path | None, typer.Option(help="File with the chat template; default: the checkpoint's "
                                                       "own (with --chat).")] = None,
) -> None:
    """Generate text, greedily or with a temperature, and print on stderr why it stopped.

    Each line of a --batch file is {"prompt": TEXT} or {"prompt_ids": [1, 2, 3]}, with "max_new_tokens" and "seed" if
    they differ from the options. For each line, in the same order, a line {"prompt_ids", "tokens", "text", "stopped"}
    is printed, with "temperature", "top_k", "top_p" and "seed" if tokens were drawn. --json without --batch adds
    "rows_listed", "rows_rescored" and "heads_repeated" if tokens were chosen from a split head.
    """
    from sw.cli.generation import Options, run

    run(Options(
        checkpoint=checkpoint, prompt=prompt, prompt_ids=prompt_ids, max_new_tokens=max_new_tokens,
        board_name=board_name, backend=backend, preset_name=preset_name, batch=batch, temperature=temperature,
        top_k=top_k, top_p=top_p, seed=seed, generation_config=generation_config, as_json=as_json, chunk=chunk,
        logits=logits, context=context, image=image, stats=stats, scrub=scrub, memory=memory, memory_seed=memory_seed,
        port=port, simulate=simulate, head=head.value, chat=chat, system=system, chat_template=chat_template,
    ))
