"""`bitnet-fpga profile`: measure a model on the simulated accelerator, clock by clock."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sim.profile.measure import Profile

__all__ = ["profile"]

DEFAULT_CONTEXT, DEFAULT_PROMPT = 256, 128
PICTURES = (".svg", ".png")


def profile(
    checkpoint: Annotated[str, typer.Argument(help="Folder with config.json and model.safetensors; or "
                                              "org/name[@revision] on the Hugging Face hub.")],
    preset_name: Annotated[str | None, typer.Option("--preset", help="Accelerator configuration: a name or a TOML "
                                                    "file; default: tiny.")] = None,
    memory: Annotated[str | None, typer.Option(help="Simulated memory: ideal (fixed latency), ddr4-2133, ddr4-2400, "
                                               "ddr3-x16, sdr-x16 or hbm; default: ideal.")] = None,
    context: Annotated[int | None, typer.Option(help="Cached positions before the token that is measured; default: "
                                                f"{DEFAULT_CONTEXT}, or what the model has.")] = None,
    prompt_tokens: Annotated[int | None, typer.Option(help="Length of the prompt that is measured; default: "
                                                      f"{DEFAULT_PROMPT}, or what the model has.")] = None,
    sequences: Annotated[int | None, typer.Option(help="Sequences that decode together; default: the preset's "
                                                  "columns.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the numbers to this file; -: print them "
                                                   "instead of the table.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw a timeline of the token and a roofline, as .svg or "
                                              ".png.")] = None,
) -> None:
    """Measure clocks and efficiency of a checkpoint in simulation: one token behind a filled KV cache, a prompt, and
    several sequences together.

    The cache is filled with random keys and values, because the number of clocks does not depend on them.
    """
    from hw.contract.preset_file import find_preset
    from sim.profile.measure import Wanted, measure
    from sw.checkpoint import Checkpoint
    from sw.cli.progress import console, packing_bars
    from sw.errors import JobError
    from sw.model_source import ModelSource, located
    from sw.session import DEFAULT_MEMORY, DEFAULT_PRESET
    from sw.whole_file import whole_file

    config, opened = find_preset(preset_name or DEFAULT_PRESET), Checkpoint.open(located(checkpoint))
    positions = opened.config.max_position_embeddings
    wanted = Wanted(
        memory=memory or DEFAULT_MEMORY,
        context=min(DEFAULT_CONTEXT, positions - 1) if context is None else context,
        prompt_tokens=min(DEFAULT_PROMPT, positions) if prompt_tokens is None else prompt_tokens,
        sequences=config.columns if sequences is None else sequences,
    )
    wanted.check(config)
    if not 0 <= wanted.context < positions:
        raise JobError(f"--context must be 0 to {positions - 1}, so that the token has one of the model's positions, "
                       f"not {wanted.context}")
    if not 1 <= wanted.prompt_tokens <= positions:
        raise JobError(f"--prompt-tokens must be 1 to {positions}, the model's positions, not {wanted.prompt_tokens}")
    if plot is not None and plot.suffix not in PICTURES:
        raise JobError(f"--plot writes {' or '.join(PICTURES)}, not {plot.name}: change the name of the file")
    with ExitStack() as stack:
        draw = None if plot is None else _picture(stack, plot, opened.files)
        to_stdout = json_file == Path("-")
        numbers = None if json_file is None or to_stdout else stack.enter_context(whole_file(json_file, opened.files))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bitnet-fpga-")))
        with packing_bars() as packing:
            image = ModelSource.of(opened).packed(config, folder, wanted.positions, wanted.sequences, packing)
        with console().status("") as status:
            found = measure(image, wanted, sampled=plot is not None,
                            told=lambda what: status.update(f"profile: {what}"))
        result = {"checkpoint": checkpoint, **found.result}
        if numbers is not None:
            numbers.write(json.dumps(result, indent=2).encode() + b"\n")
        if draw is not None:
            draw(found)
    print(json.dumps(result, indent=2) if to_stdout else "\n".join(table(result)))


def _picture(stack: ExitStack, path: Path, inputs: Iterable[Path]) -> Callable[[Profile], None]:
    """Function that draws a profile into a file. The package that draws is imported before anything is measured."""
    from sim.profile.picture import draw
    from sw.whole_file import whole_file

    file = stack.enter_context(whole_file(path, inputs))
    return lambda found: draw(found, file, path.suffix[1:])


def table(result: dict[str, Any]) -> list[str]:
    """The numbers as lines of text."""
    memory, decode, prefill, sequences = (result[name] for name in ("memory", "decode", "prefill", "sequences"))
    rows: list[tuple[str, str]] = [
        (f"one token behind {decode['cached_positions']:,} cached positions", f"{decode['cycles_per_token']:,} clocks"),
        ("  bytes that it requires", f"{decode['required_bytes']:,}"),
        ("  stream efficiency", f"{decode['stream_efficiency']:.3f}"),
        (f"prompt of {prefill['prompt_tokens']:,} tokens", f"{prefill['cycles']:,} clocks"),
        ("  array utilization", f"{prefill['array_utilization']:.3f}"),
        ("  until the first new token", f"{prefill['first_token_cycles']:,} clocks"),
        (f"{sequences['count']} sequences, a token of each", f"{sequences['cycles_per_pass']:,} clocks"),
        ("  tokens per clock, relative to one sequence", f"{sequences['speedup']:.2f}"),
    ]
    total = decode["cycles_per_token"]
    clocks = {"stream_busy": decode["busy_cycles"]["stream"], **result["stalls"]}
    causes = sorted(clocks.items(), key=lambda one: -one[1])
    return [
        f"preset {result['preset']}, design {result['design_hash'][:16]}; memory {memory['name']}, "
        f"{memory['sequential_bytes_per_cycle']:.2f} bytes per clock",
        *(f"{what:<48} {value:>20}" for what, value in rows),
        "",
        "clocks of the token, by cause",
        *(f"  {name:<20} {number:>14,} {number / total:>8.1%}" for name, number in causes if number),
    ]
