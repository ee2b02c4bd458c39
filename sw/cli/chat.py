"""`bitnet-fpga chat`: talk to a model, turn by turn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sw.cli.head import Head

__all__ = ["chat"]


def chat(
    checkpoint: Annotated[str, typer.Argument(help="Folder with config.json, model.safetensors, tokenizer.json; or "
                                              "org/name[@revision] on the Hugging Face hub.")],
    system: Annotated[str | None, typer.Option(help="System prompt: what the model is told first.")] = None,
    chat_template: Annotated[Path | None, typer.Option(help="File with the chat template; default: the "
                                                       "checkpoint's own.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Most tokens of an answer.")] = 512,
    board_name: Annotated[str | None, typer.Option("--board", help="Run on this board, which sets preset and "
                                                   "backend; `bitnet-fpga boards` lists the boards.")] = None,
    backend: Annotated[str | None, typer.Option(help="golden (NumPy), sim (Verilog), serial or mmap (a board); "
                                                "default: golden.")] = None,
    preset_name: Annotated[str | None, typer.Option("--preset", help="Accelerator configuration: a name or a TOML "
                                                    "file; default: tiny.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Draw tokens from logits / T; 0: greedy. Default of this "
                                                      "and the next two: generation_config.json.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Draw from the K largest logits.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Draw from the likeliest tokens whose probabilities sum to P.")]
    = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the draws; default: 0. Turn n, counted from 0: seed + n.")]
    = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each answer.")] = False,
    context: Annotated[int | None, typer.Option(help="Positions of the KV cache; default: the model's own.")] = None,
    image: Annotated[Path | None, typer.Option(help="Packed image of this checkpoint; default: pack now.")] = None,
    head: Annotated[Head, typer.Option(help="split: choose greedy tokens from half of the LM head's bytes (a preset "
                                       "with candidates).")] = Head.FULL,
    memory: Annotated[str | None, typer.Option(help="Simulated memory, as of `generate` (backend sim).")] = None,
    memory_seed: Annotated[int, typer.Option(help="Random stalls of the memory; 0: none (backend sim).")] = 0,
    port: Annotated[str, typer.Option(help="Serial port; auto: the first with a board (backend serial).")] = "auto",
    simulate: Annotated[bool, typer.Option("--simulate", help="Simulate the whole board in Verilator, with its serial "
                                           "link and memory chip (needs --board).")] = False,
) -> None:
    """Talk to a model with the chat template of its checkpoint.

    A line is a turn. From a pipe, the answers alone are printed on stdout.

    Lines that begin with / are commands, which /help lists.

    Ctrl-C ends an answer; Ctrl-D, or Ctrl-C twice, ends the program.
    """
    from sw.cli.chatting import run
    from sw.cli.generation import Options

    run(Options(
        checkpoint=checkpoint, prompt=None, prompt_ids=None, max_new_tokens=max_new_tokens, board_name=board_name,
        backend=backend, preset_name=preset_name, batch=None, temperature=temperature, top_k=top_k, top_p=top_p,
        seed=seed, generation_config=True, as_json=as_json, chunk=None, logits=None, context=context, image=image,
        stats=None, scrub=False, memory=memory, memory_seed=memory_seed, port=port, simulate=simulate,
        head=head.value, system=system, chat_template=chat_template,
    ))
