"""The whole layout of bitnet-b1.58-2B-4T through the Verilog: `make full-token` (docs/results/full_token.json and .md).

A seeded random checkpoint of that shape runs on the simulated accelerator and on the golden model: a prompt, some new
tokens, and one token at the last position, behind a KV cache of random keys and values. After each step every logit and
every byte of the KV memory must be equal; a difference ends the program with exit code 4.

The state between two steps is the KV memory alone. It is saved in build/full-token with the results so far, and an
interrupted run goes on there, as long as no source has changed. Takes 4 GB of disk, and minutes per token.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boards.results import machine
from hw.contract.config import AccelConfig, preset
from hw.extras import as_program
from sim.full_size import FULL_SIZE
from sim.links.golden import GoldenLink
from sim.links.simulated import SimulatedLink
from sim.memory.part import IDEAL, MEMORIES
from sim.profile.cache import fill_cache
from sim.random_checkpoint import write_random_checkpoint
from sw.checkpoint import Checkpoint
from sw.driver import Driver
from sw.errors import VerificationError
from sw.image import ModelImage
from sw.installed import commit
from sw.pack import pack
from sw.requests import Job
from sw.whole_file import whole_file
from tools.saved import Saved, sources

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "docs" / "results" / "full_token.json"
FOLDER = ROOT / "build" / "full-token"
PROMPT_TOKENS, NEW_TOKENS = 16, 2
SEED = 1
"""Of the prompt, and of the cache before the last position."""

DIFFERENT = 4
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Step:
    """A run from one token boundary to the next. `make` gives its job, from the tokens chosen so far; `filled` is the
    number of positions of a new random cache that it starts with, or None for the cache of the step before."""

    name: str
    make: Callable[[list[int]], Job]
    filled: int | None = None


def steps(config: AccelConfig, vocab: int, positions: int, prompt_tokens: int, new_tokens: int) -> list[Step]:
    """The prompt in chunks of all columns, then token after token, then a token at the last position."""
    prompt = [int(token) for token in np.random.default_rng(SEED).integers(0, vocab, prompt_tokens)]
    found = []
    for start in range(0, prompt_tokens, config.columns):
        part = prompt[start : start + config.columns]
        end = start + len(part)
        new = int(end == prompt_tokens)
        found.append(Step(f"prompt, positions {start} to {end - 1}",
                          lambda tokens, part=part, start=start, new=new: _job(part, start, new),
                          filled=None if start else 0))
    for number in range(1, new_tokens):
        position = prompt_tokens + number - 1
        found.append(Step(f"new token at position {position}",
                          lambda tokens, position=position: _job([tokens[-1]], position, 1)))
    last = positions - 1
    found.append(Step(f"token at position {last}", lambda tokens: _job(prompt[:1], last, 1), filled=last))
    return found


def _job(tokens: list[int], position: int, new: int) -> Job:
    return Job(prompt=tuple(tokens), start_position=position, chunk=len(tokens), max_new_tokens=new,
               last_logits=new > 0)


class FullToken:
    """The steps on an image, each compared with the golden model and saved."""

    def __init__(self, image: ModelImage, memory: str, folder: Path) -> None:
        self._folder = folder
        self._saved = Saved(folder / "steps.json")
        self._golden = GoldenLink(image)
        self._simulated = SimulatedLink(image, memory=memory)

    @property
    def _kv(self) -> Bytes:
        """The KV memory of the golden model."""
        return self._golden.machine.kv

    def run(self, todo: list[Step]) -> list[dict[str, Any]]:
        """Results of all steps, made or saved. Raises VerificationError at the first difference."""
        done: list[dict[str, Any]] = []
        with closing(self._simulated):
            for number, step in enumerate(todo):
                tokens = [token for one in done for token in one["tokens"]]
                make = partial(self._step, number, step, tokens)
                done.append(self._saved.get(step.name, make))
        return done

    def _state(self, number: int) -> Path:
        return self._folder / f"kv-{number}.npy"

    def _step(self, number: int, step: Step, tokens: list[int]) -> dict[str, Any]:
        """Loads the state before the step, runs it twice, and saves the state behind it."""
        if step.filled is None:
            self._kv[...] = np.load(self._state(number - 1))
        else:
            self._kv[...] = 0
            fill_cache(self._golden.machine, step.filled, SEED)
        kv_address = self._simulated.layout.kv
        self._simulated.write_memory(kv_address, self._kv.tobytes())
        job, started = step.make(tokens), time.perf_counter()
        got = Driver(self._simulated).generate(job)
        stats, simulated = self._simulated.stats, time.perf_counter()
        assert stats is not None
        expected = Driver(self._golden).generate(job)
        golden = time.perf_counter()
        rows = self._compare(step.name, np.array(got.logits), np.array(expected.logits))
        if got.tokens != expected.tokens:
            raise VerificationError(f"{step.name}: the tokens are {got.tokens}, those of golden {expected.tokens}")
        self._compare_memory(step.name, self._simulated.read_memory(kv_address, self._kv.nbytes))
        np.save(self._state(number), self._kv)
        self._state(number - 2).unlink(missing_ok=True)  # this step begins with number - 1 again, until it is saved
        return {"step": step.name, "tokens": got.tokens, "cycles": stats.cycles, "counters": dict(stats.counters),
                "seconds": simulated - started, "golden_seconds": golden - simulated, "rows": len(rows),
                "logits": rows.size, "logits_sha256": hashlib.sha256(rows.astype("<f4").tobytes()).hexdigest()}

    def _compare(self, name: str, got: NDArray[np.float32], expected: NDArray[np.float32]) -> NDArray[np.float32]:
        if got.shape != expected.shape:
            raise VerificationError(f"{name}: there are logits of shape {got.shape}, golden has {expected.shape}")
        different = np.flatnonzero(got != expected)
        if len(different):
            raise VerificationError(f"{name}: {len(different)} of {got.size} logits differ from golden, the first is "
                                    f"number {different[0]}")
        return got

    def _compare_memory(self, name: str, got: Bytes) -> None:
        different = np.flatnonzero(got != self._kv.reshape(-1))
        if len(different):
            raise VerificationError(f"{name}: {len(different)} bytes of the KV memory differ from golden, the first is "
                                    f"number {different[0]}")


def image_of(config: AccelConfig, folder: Path, fields: dict[str, Any]) -> ModelImage:
    """The image of the random checkpoint, which are made once; the checkpoint serves all presets."""
    checkpoint = folder.parent / "checkpoint"
    if not checkpoint.exists():
        print("checkpoint", file=sys.stderr, flush=True)
        write_random_checkpoint(checkpoint.with_suffix(".partial"), **fields).rename(checkpoint)
    path = folder / "model.img"
    if not path.exists():
        print("image", file=sys.stderr, flush=True)
        pack(Checkpoint.open(checkpoint), path, config)
    return ModelImage.open(path, config)


def run(
    config: AccelConfig, memory: str, folder: Path, fields: dict[str, Any], prompt_tokens: int, new_tokens: int
) -> dict[str, Any]:
    """All steps, and their sums."""
    place = folder / f"{config.design_hash[:16]}-{memory}-{sources()}"
    for old in [path for path in folder.glob("*-*-*") if path.name != place.name]:  # gigabytes of other sources
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
    place.mkdir(parents=True, exist_ok=True)
    image = image_of(config, place, fields)
    shape = image.plan.shape
    done = FullToken(image, memory, place).run(
        steps(config, shape.vocab, shape.context, prompt_tokens, new_tokens))
    cycles, seconds = (sum(one[name] for one in done) for name in ("cycles", "seconds"))
    return {"preset": config.name, "design_hash": config.design_hash, "memory": memory, "model": asdict(shape),
            "steps": done, "cycles": cycles, "seconds": seconds, "cycles_per_second": cycles / seconds,
            "logits_equal": sum(one["logits"] for one in done)}


def markdown(record: dict[str, Any]) -> str:
    """The page with a line per step."""
    made, shape = record["made"], record["model"]
    lines = [
        "# A whole model, token by token", "",
        f"Written by `make full-token`: {shape['layers']} layers, hidden {shape['hidden']}, FFN "
        f"{shape['intermediate']}, vocabulary {shape['vocab']:,},",
        f"seeded random weights, on `{record['preset']}` with memory `{record['memory']}`. {made['date']}, commit "
        f"{made['commit']}, {made['machine']}.", "",
        f"All {record['logits_equal']:,} logits and all bytes of the KV memory are equal to those of the golden model.",
        f"{record['cycles']:,} clocks in {record['seconds']:,.0f} s: {record['cycles_per_second']:,.0f} simulated "
        "clocks per second.", "",
        "| step | clocks | s | logits | new token | SHA-256 of the logits |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for one in record["steps"]:
        digest = f"`{one['logits_sha256'][:16]}`" if one["rows"] else ""
        lines.append(f"| {one['step']} | {one['cycles']:,} | {one['seconds']:,.0f} | {one['logits']:,} | "
                     f"{', '.join(map(str, one['tokens']))} | {digest} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="full_token", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--preset", default="kv260")
    parser.add_argument("--memory", default=IDEAL, choices=MEMORIES)
    options = parser.parse_args(arguments)
    try:
        found = run(preset(options.preset), options.memory, FOLDER, FULL_SIZE, PROMPT_TOKENS, NEW_TOKENS)
    except VerificationError as error:
        print(f"error: {error}", file=sys.stderr)
        return DIFFERENT
    made = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": commit(), "machine": machine(),
            "python": platform.python_version(), "command": " ".join(["python -m tools.full_token", *arguments])}
    record = {"made": made, **found}
    with whole_file(RESULT) as file, whole_file(RESULT.with_suffix(".md")) as page:
        file.write((json.dumps(record, indent=1) + "\n").encode())
        page.write(markdown(record).encode())
    return 0


if __name__ == "__main__":
    with as_program():
        sys.exit(main(sys.argv[1:]))
