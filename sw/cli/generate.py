"""`bitnet-fpga generate`: text from a checkpoint."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from hw.contract.config import AccelConfig
from sw.checkpoint import Checkpoint
from sw.cli.pack import pack_with_progress
from sw.cli.progress import bar
from sw.cli.prompts import Prompt, one_prompt, read_batch
from sw.cli.sampling_options import choose_sampling
from sw.cli.target import choose_target
from sw.driver import Accelerator, Generation
from sw.errors import ImageError, JobError
from sw.image import ModelImage
from sw.links.link import Link, RunStats
from sw.pack import model_shape
from sw.requests import Job
from sw.scheduler import generate_batch
from sw.session import open_link, simulate_board
from sw.streams import discard, tell
from sw.text import CheckpointText
from sw.whole_file import OutputError, output_target, whole_file

__all__ = ["generate"]


def summary(config: AccelConfig, results: Sequence[Generation], total: RunStats) -> dict[str, Any]:
    """The --stats file: clocks of all runs together and where they went; memory traffic where the link sees it."""
    fed = sum(len(result.prompt_ids) + max(len(result.tokens) - 1, 0) for result in results)
    counters = total.counters
    traffic = {} if total.traffic is None else {
        "read_bytes": total.traffic.read_bytes, "written_bytes": total.traffic.beats_written * config.beat_bytes,
    }
    return {
        "preset": config.name,
        "sequences": len(results),
        "runs": total.runs,
        "prompt_tokens": sum(len(result.prompt_ids) for result in results),
        "new_tokens": sum(len(result.tokens) for result in results),
        "positions_fed": fed,
        "cycles": total.cycles,
        "cycles_per_token": total.cycles / fed,
        **traffic,
        "stall_cycles": {
            "stream_starved": counters["stream_starved"],
            "stream_waiting": counters["stream_waiting"],
            "array_waiting": counters["array_waiting"],
        },
        "busy_cycles": {
            name: counters[f"{name}_busy"] for name in ("stream", "embed", "norm", "matmul", "attention", "head")
        },
        "cycles_per_second": total.cycles / total.seconds,
    }


class _Output:
    """Prints what is generated.

    When nobody reads stdout any more, BrokenPipeError ends the run, unless it shall keep going for the sake of a file.
    """

    def __init__(self, codec: CheckpointText, keep_going: bool) -> None:
        self._codec, self._keep_going = codec, keep_going
        self._stream = codec.stream()

    def token(self, token: int) -> None:
        """What it adds to the text; a character split over tokens waits for its last byte."""
        self.write(self._stream.add(token))

    def end(self) -> None:
        """The last of the text, and a line break."""
        self.write(self._stream.end() + "\n")

    def result(self, job: Job, result: Generation) -> None:
        """A sequence as a JSON line; where its tokens were drawn, also how."""
        drawn = asdict(job.sampling) if job.sampling else {}
        self.write(json.dumps({"prompt_ids": result.prompt_ids, "tokens": result.tokens,
                               "text": self._codec.decode(result.tokens), "stopped": result.stopped, **drawn}) + "\n")

    def write(self, text: str) -> None:
        """Prints at once."""
        try:
            print(text, end="", flush=True)
        except BrokenPipeError:
            if not self._keep_going:
                raise
            discard(sys.stdout)


def _scrub(link: Link, console: Console, when: str) -> None:
    """Raises HardwareError where the image in the machine's memory is not what was packed."""
    with console.status("scrub") as status:
        link.scrub(lambda done, total: status.update(f"scrub: {done >> 20} of {total >> 20} MiB"))
    tell(f"scrub {when}: the image in memory is what was packed")


def _run_one(accelerator: Accelerator, job: Job, as_json: bool, output: _Output) -> list[Generation]:
    """The result, printed as text while it grows, or in one piece."""
    if as_json:
        result = accelerator.generate(job)
        output.result(job, result)
    else:
        result = accelerator.generate(job, output.token)
        output.end()
        tell(f"stopped: {result.stopped}")
    return [result]


def _run_batch(accelerator: Accelerator, jobs: Sequence[Job], output: _Output) -> list[Generation]:
    """Results in the order of the jobs, each printed as soon as those before it are."""
    ended: dict[int, Generation] = {}
    printed = 0
    for number, result in generate_batch(accelerator, jobs):
        ended[number] = result
        while printed in ended:
            output.result(jobs[printed], ended[printed])
            printed += 1
    return [ended[number] for number in range(len(jobs))]


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
    config, board = choose_target(board_name, preset=preset_name, backend=backend)
    backend = board.backend if board else backend or "golden"
    if simulate and board is None:
        raise JobError("--simulate needs --board: it says which board is simulated")
    if simulate and port != "auto":
        raise JobError("--simulate brings a serial port of its own: leave out --port")
    if backend != "serial" and port != "auto":
        raise JobError(f"--port names the serial port of a board: use --backend serial, not {backend}")
    if backend == "golden" and stats is not None:
        raise JobError("--stats has the clocks of a machine, the golden model has none: use --backend sim, or a board")
    if backend != "sim" and memory_seed:
        raise JobError(f"--memory-seed changes the simulated accelerator's memory: use --backend sim, not {backend}")
    if image is not None and context is not None:
        raise JobError("an image has a context of its own: leave out --context or --image")
    opened = Checkpoint.open(checkpoint)
    sampling = choose_sampling(checkpoint, generation_config, temperature, top_k, top_p, seed)
    codec = CheckpointText.open(checkpoint, opened.config.vocab_size)
    columns = config.columns if chunk is None else chunk
    if batch is not None:
        if any(option is not None for option in (prompt, prompt_ids, logits)):
            raise JobError("--batch takes prompts from its file: leave out --prompt, --prompt-ids and --logits")
        prompts = read_batch(batch, codec, max_new_tokens, columns, sampling)
    else:
        ids = one_prompt(prompt, prompt_ids, codec)
        prompts = [Prompt(Job(prompt=ids, max_new_tokens=max_new_tokens, chunk=columns, end_ids=codec.tokens.end_ids,
                              all_logits=logits is not None, sampling=sampling))]
    jobs = [one.job for one in prompts]
    with ExitStack() as stack:
        inputs = [*opened.files, *(path for path in (image, batch) if path is not None)]
        stats_file, logits_file = (
            None if path is None else stack.enter_context(whole_file(path, inputs)) for path in (stats, logits)
        )
        if stats is not None and logits is not None and output_target(stats) == output_target(logits):
            raise OutputError(f"cannot write {logits}: --logits and --stats are the same file")
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        if image is None:
            path = Path(folder) / "model.img"
            pack_with_progress(opened, path, config, context, min(config.columns, len(jobs)))
            packed = ModelImage.open(path, config)
        else:
            packed = ModelImage.open(image, config)
            shape = packed.plan.shape
            if shape != model_shape(opened, shape.context, shape.sequences):
                raise ImageError(f"{image} was not packed from {checkpoint}: the shapes of the models differ")
        packed.verify()
        if simulate:
            link = simulate_board(board, packed)
        else:
            link = open_link(backend, config, packed, port=port, memory_seed=memory_seed)
        stack.callback(link.close)
        accelerator = Accelerator(config, link)
        for one in prompts:
            one.check(accelerator)
        if scrub and backend == "golden":
            raise JobError(f"--scrub reads the memory of a machine: use --backend sim, serial or mmap, not {backend}")
        console = Console(stderr=True, quiet=not sys.stderr.isatty())
        with console.status("building the simulator (the first time takes a minute or two)"):
            link.build()
        with bar("load", speed=True) as progress:
            link.load(progress)
        output = _Output(codec, bool(stats_file or logits_file))
        if scrub:
            _scrub(link, console, "before the first token")
        if batch is None:
            results = _run_one(accelerator, jobs[0], as_json, output)
        else:
            results = _run_batch(accelerator, jobs, output)
        if scrub:
            _scrub(link, console, "after the run")
        if stats_file is not None:
            content = summary(config, results, accelerator.total)
            stats_file.write(json.dumps(content, indent=2).encode() + b"\n")
        if logits_file is not None:
            np.savez(
                logits_file, prompt_ids=np.array(results[0].prompt_ids, np.int64),
                tokens=np.array(results[0].tokens, np.int64), logits=np.stack(results[0].logits),
            )
