"""`bitnet-fpga serve`: answer requests over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sw.cli.head import Head

__all__ = ["serve"]


def serve(
    checkpoint: Annotated[str, typer.Argument(help="Folder with config.json, model.safetensors, tokenizer.json; or "
                                              "org/name[@revision] on the Hugging Face hub.")],
    host: Annotated[str, typer.Option(help="Address to listen at; any but loopback needs a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0: a free one.")] = 8080,
    board_name: Annotated[str | None, typer.Option("--board", help="Run on this board, which sets preset and "
                                                   "backend.")] = None,
    backend: Annotated[str | None, typer.Option(help="golden (NumPy), sim (Verilog), serial or mmap (a board); "
                                                "default: golden.")] = None,
    preset_name: Annotated[str | None, typer.Option("--preset", help="Accelerator configuration: a name or a TOML "
                                                    "file; default: tiny.")] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="Simulate the whole board (needs --board).")] = False,
    serial_port: Annotated[str, typer.Option(help="Serial port of the board; auto: the first with a board.")] = "auto",
    context: Annotated[int | None, typer.Option(help="Positions of the KV cache; default: the model's own.")] = None,
    image: Annotated[Path | None, typer.Option(help="Packed image of this checkpoint; default: pack now.")] = None,
    head: Annotated[Head, typer.Option(help="split: choose greedy tokens from half of the LM head's bytes (a preset "
                                       "with candidates).")] = Head.FULL,
    memory: Annotated[str | None, typer.Option(help="Simulated memory, as of `generate` (backend sim).")] = None,
    memory_seed: Annotated[int, typer.Option(help="Random stalls of the memory; 0: none (backend sim).")] = 0,
    slots: Annotated[int | None, typer.Option(help="Sequences that the KV cache has room for; default: the preset's "
                                              "columns.")] = None,
    queue: Annotated[int, typer.Option(help="Requests that may wait for a place.")] = 32,
    time_limit: Annotated[float, typer.Option(help="Most seconds of an answer, waiting included.")] = 3600,
    chat_template: Annotated[Path | None, typer.Option(help="File with the chat template; default: the "
                                                       "checkpoint's own.")] = None,
    api_key_file: Annotated[Path | None, typer.Option(help="File with the key that clients must send; default: the "
                                                      "variable BITNET_FPGA_API_KEY, if it is set.")] = None,
    allow_host: Annotated[list[str] | None, typer.Option(help="Name by which clients reach this server.")] = None,
    cors_origin: Annotated[list[str] | None, typer.Option(help="Origin of web pages that may use this server.")]
    = None,
    docs: Annotated[bool, typer.Option("--docs", help="Describe the interface at /openapi.json, and at /docs with "
                                       "scripts of another server.")] = False,
) -> None:
    """Serve a model to several users in the form of OpenAI's API (docs/server.md). SIGTERM and Ctrl-C end it."""
    from sw.cli.serving import Options, run

    run(Options(
        checkpoint=checkpoint, host=host, http_port=port, board_name=board_name, backend=backend,
        preset_name=preset_name, simulate=simulate, port=serial_port, memory=memory, memory_seed=memory_seed,
        context=context, image=image, slots=slots, queue=queue, time_limit=time_limit, chat_template=chat_template,
        api_key_file=api_key_file, hosts=tuple(allow_host or ()), origins=tuple(cors_origin or ()), docs=docs,
        head=head.value,
    ))
