"""`bitnet-fpga generate`: text from a checkpoint."""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from hw.config import AccelConfig, preset
from sw.checkpoint import Checkpoint
from sw.commands.pack import pack_with_progress
from sw.driver import Accelerator, Generation, JobError, open_link
from sw.image import ImageError, ModelImage
from sw.pack import model_shape
from sw.requests import Job
from sw.streams import discard_stdout, tell
from sw.tokenizer import CheckpointTokenizer
from sw.whole_file import OutputError, output_target, whole_file

__all__ = ["generate"]


def _tokenizer(checkpoint: Path) -> CheckpointTokenizer | None:
    path = checkpoint / "tokenizer.json"
    return CheckpointTokenizer(path) if path.is_file() else None


def _prompt_ids(text: str | None, ids: str | None, tokenizer: CheckpointTokenizer | None) -> list[int]:
    if (text is None) == (ids is None):
        raise JobError("give either --prompt or --prompt-ids")
    if ids is not None:
        try:
            return [int(part) for part in ids.split(",")]
        except ValueError:
            raise JobError(f"--prompt-ids must be numbers with commas between them, not {ids[:80]!r}") from None
    if tokenizer is None:
        raise JobError("the checkpoint has no tokenizer.json: use --prompt-ids")
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        raise JobError("--prompt is not valid UTF-8") from None
    return tokenizer.encode(text or "")


def summary(config: AccelConfig, result: Generation, measured: dict[str, Any]) -> dict[str, Any]:
    """The --stats file: clocks of the run and where they went."""
    fed = len(result.prompt_ids) + max(len(result.tokens) - 1, 0)
    counters = measured["counters"]
    return {
        "preset": config.name,
        "prompt_tokens": len(result.prompt_ids),
        "new_tokens": len(result.tokens),
        "positions_fed": fed,
        "cycles": measured["cycles"],
        "cycles_per_token": measured["cycles"] / fed,
        "read_bytes": measured["read_bytes"],
        "written_bytes": measured["beats_written"] * config.beat_bytes,
        "stall_cycles": {
            "stream_starved": counters["stream_starved"],
            "stream_waiting": counters["stream_waiting"],
            "array_waiting": counters["array_waiting"],
        },
        "busy_cycles": {
            name: counters[f"{name}_busy"] for name in ("stream", "embed", "norm", "matmul", "attention", "head")
        },
        "simulated_cycles_per_second": measured["cycles"] / measured["seconds"],
    }


class _TextStream:
    """Prints what each token adds to the decoded text; a character split over tokens waits for its last byte.

    When nobody reads stdout any more, BrokenPipeError ends the run, unless it shall keep going for the sake of a file.
    """

    def __init__(self, tokenizer: CheckpointTokenizer | None, keep_going: bool) -> None:
        self._tokenizer, self._keep_going = tokenizer, keep_going
        self._tokens: list[int] = []
        self._shown = ""

    def __call__(self, token: int) -> None:
        self._tokens.append(token)
        if self._tokenizer is None:
            self.write(f"{token} ")
            return
        text = self._tokenizer.decode(self._tokens)
        if not text.endswith("\ufffd"):
            self.write(text[len(self._shown) :])
            self._shown = text

    def write(self, text: str) -> None:
        """Prints at once."""
        try:
            print(text, end="", flush=True)
        except BrokenPipeError:
            if not self._keep_going:
                raise
            discard_stdout()


def generate(
    checkpoint: Annotated[Path, typer.Argument(help="Folder with config.json, model.safetensors, tokenizer.json.")],
    prompt: Annotated[str | None, typer.Option(help="Text to continue.")] = None,
    prompt_ids: Annotated[str | None, typer.Option(help="Token ids, used verbatim: 1,2,3.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Tokens to generate at most; 0 scores the prompt.")] = 32,
    backend: Annotated[str, typer.Option(help="What executes the model: golden (NumPy) or sim (Verilog).")] = "golden",
    preset_name: Annotated[str, typer.Option("--preset", help="Accelerator configuration.")] = "tiny",
    chunk: Annotated[int | None, typer.Option(help="Prompt tokens per pass; default: the preset's columns.")] = None,
    logits: Annotated[Path | None, typer.Option(help="Write ids, tokens and logits to this .npz.")] = None,
    image: Annotated[Path | None, typer.Option(help="Packed image of this checkpoint; default: pack now.")] = None,
    stats: Annotated[Path | None, typer.Option(help="Write cycles and counters to this .json (backend sim).")] = None,
    memory_seed: Annotated[int, typer.Option(help="Random memory timing; 0: fixed latency (backend sim).")] = 0,
) -> None:
    """Generate text greedily; says on stderr why it stopped."""
    config = preset(preset_name)
    if backend != "sim" and (stats is not None or memory_seed):
        raise JobError(f"--stats and --memory-seed measure the simulated accelerator: use --backend sim, not {backend}")
    opened = Checkpoint.open(checkpoint)
    tokenizer = _tokenizer(checkpoint)
    ids = _prompt_ids(prompt, prompt_ids, tokenizer)
    job = Job(
        prompt=tuple(ids), max_new_tokens=max_new_tokens, all_logits=logits is not None,
        chunk=config.columns if chunk is None else chunk,
    )
    with ExitStack() as stack:
        inputs = opened.files if image is None else [*opened.files, image]
        stats_file, logits_file = (
            None if path is None else stack.enter_context(whole_file(path, inputs)) for path in (stats, logits)
        )
        if stats is not None and logits is not None and output_target(stats) == output_target(logits):
            raise OutputError(f"cannot write {logits}: --logits and --stats are the same file")
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        if image is None:
            path = Path(folder) / "model.img"
            pack_with_progress(opened, path, config, None, 1)
            packed = ModelImage.open(path, config)
        else:
            packed = ModelImage.open(image, config)
            packed.verify()
            if packed.shape != model_shape(opened, packed.shape.context, packed.shape.sequences):
                raise ImageError(f"{image} was not packed from {checkpoint}: the shapes of the models differ")
        options = {"memory_seed": memory_seed} if backend == "sim" else {}
        link = open_link(backend, config, packed, **options)
        accelerator = Accelerator(config, link)
        accelerator.check(job)
        build = getattr(link, "build", None)
        if build is not None:
            console = Console(stderr=True, quiet=not sys.stderr.isatty())
            with console.status("building the simulator (the first time takes a minute or two)"):
                build()
        stream = _TextStream(tokenizer, keep_going=bool(stats_file or logits_file))
        result = accelerator.generate(job, stream)
        stream.write("\n")
        tell(f"stopped: {result.stopped}")
        if stats_file is not None:
            content = summary(config, result, getattr(link, "stats", {}))
            stats_file.write(json.dumps(content, indent=2).encode() + b"\n")
        if logits_file is not None:
            np.savez(
                logits_file, prompt_ids=np.array(result.prompt_ids, np.int64),
                tokens=np.array(result.tokens, np.int64), logits=np.stack(result.logits),
            )
