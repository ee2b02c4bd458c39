"""The ECP5 netlist of a small accelerator against its Verilog: `make netlist`, or `python -m sim.netlist_check`.

Both run a random model in front of the simulated memory, with fixed and with random timing, for rows of logits, for
shortlists and with a split head: the same tokens, logits, lists, clocks and counters, and tokens, logits and lists of
the golden model. Writes what was found to docs/results/netlist.md.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

from hw.accelerator import Accelerator
from hw.contract.config import PRESETS
from hw.extras import as_program
from sim.full_size import machine
from sim.links.golden import GoldenLink
from sim.memory.top import SimulatedMemory
from sim.netlist import count_cells
from sim.random_checkpoint import write_random_checkpoint
from sw.checkpoint import Checkpoint
from sw.driver import Driver
from sw.image import ModelImage
from sw.pack import pack
from sw.requests import Job
from sw.shortlist import Shortlist
from sw.split_head import guard_of
from sw.whole_file import whole_file

__all__ = ["listed", "main"]

RESULTS = Path("docs/results/netlist.md")
TOP = "accelerator"
SMALL = PRESETS["tiny"].replace(
    name="netlist", max_hidden=64, max_intermediate=128, max_vocab=64, max_positions=64, max_head_dim=32, max_group=2,
    stream_fifo_beats=128, candidates=64,
)
MODEL = {"hidden": 64, "intermediate": 96, "layers": 2, "heads": 2, "kv_heads": 1, "vocab": 33, "positions": 24}
ROWS = Job(prompt=(3, 1, 30), max_new_tokens=2, chunk=2, all_logits=True)
JOBS = {
    "all rows of logits": ROWS,
    "shortlists": replace(ROWS, all_logits=False, list_at=0.8),
    "split head": replace(ROWS, all_logits=False, guard=guard_of("split")),
}
SEEDS = (0, 3)


def listed(shortlist: Shortlist) -> list[Any]:
    """What it says, as JSON keeps it."""
    return [shortlist.ids.tolist(), shortlist.logits.tolist(), shortlist.log_sum]


@contextmanager
def _step(name: str) -> Iterator[None]:
    start = time.monotonic()
    print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
    yield
    print(f"{time.monotonic() - start:.0f} s", file=sys.stderr)


def _run(folder: Path, image: ModelImage, job: Job, seed: int, netlist: bool) -> dict[str, Any]:
    from sim.bench import run_bench  # needs the extra `sim`

    result = folder / "result.json"
    run_bench(
        Accelerator(SMALL), SMALL, "sim.netlist_bench", top=TOP, netlist=netlist,
        memory=SimulatedMemory(file=image.path, size=image.plan.layout().end, seed=seed),
        parameters={"image": str(image.path), "request": asdict(job), "result": str(result), "limit_cycles": 1_000_000},
    )
    return json.loads(result.read_text())


def _compare(folder: Path) -> list[str]:
    """A line of the report for each timing of the memory. Raises SystemExit where two of the three differ."""
    write_random_checkpoint(folder / "checkpoint", **MODEL, seed=3)
    pack(Checkpoint.open(folder / "checkpoint"), folder / "model.img", SMALL, split=True)
    image = ModelImage.open(folder / "model.img", SMALL)
    lines = []
    for (kind, job), seed in itertools.product(JOBS.items(), SEEDS):
        run = f"{kind}, memory seed {seed}"
        with _step(run):
            verilog, netlist = (_run(folder, image, job, seed, made) for made in (False, True))
        for name, found in verilog.items():
            if netlist[name] != found:
                sys.exit(f"{run}: {name} of the netlist is {netlist[name]}, of the Verilog {found}")
        golden = Driver(GoldenLink(image)).generate(job)
        expected = {"tokens": golden.tokens, "logits": [row.tolist() for row in golden.logits],
                    "lists": [listed(one) for one in golden.lists]}
        for name, value in expected.items():
            if netlist[name] != value:
                sys.exit(f"{run}: {name} are not those of the golden model")
        lines.append(f"| {kind} | {seed} | {len(netlist['logits'])} | {len(netlist['lists'])} | "
                     f"{len(netlist['tokens'])} | {netlist['cycles']:,} |")
    return lines


def _everything() -> str:
    from sim.bench import build_model  # likewise

    with _step("Verilog to a simulator"):
        build_model(Accelerator(SMALL), top=TOP, memory=True)
    start = time.monotonic()
    with _step("Verilog to a netlist to a simulator (minutes the first time)"):
        model = build_model(Accelerator(SMALL), top=TOP, memory=True, netlist=True)
    seconds = time.monotonic() - start
    cells = count_cells((model / f"{TOP}.v").read_text())
    with tempfile.TemporaryDirectory() as folder:
        runs = _compare(Path(folder))
    return "\n".join([
        "# Netlist",
        "",
        "Written by `make netlist`. What Yosys makes of a small accelerator for an ECP5 runs a random model in",
        "Verilator, with the cell models of Yosys and `sim/ecp5_blocks.v`. Tokens, logits, shortlists, clocks and",
        "every counter equal those of its Verilog, tokens, logits and shortlists those of the golden model.",
        "`sim/netlist.py` refuses latches, nets with two drivers and memories that became flip-flops: there are none.",
        "",
        f"{date.today().isoformat()}, {machine()}; netlist and its simulator made in {seconds:.0f} s.",
        "",
        "Configuration: `tiny` with " + ", ".join(
            f"{name} {value}" for name, value in asdict(SMALL).items()
            if name != "name" and value != getattr(PRESETS["tiny"], name)) + ". Model: " + ", ".join(
            f"{name} {value}" for name, value in MODEL.items()) + ".",
        "",
        "| run | memory seed | rows of logits | shortlists | new tokens | clocks, netlist and Verilog |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        *runs,
        "",
        "| cell | number |",
        "| --- | ---: |",
        *(f"| {name} | {number:,} |" for name, number in sorted(cells.items())),
        "",
    ])


def main() -> None:
    """Raises SystemExit where netlist, Verilog and golden model differ, NetlistError where there is no netlist."""
    with whole_file(RESULTS) as file:
        file.write(_everything().encode())


if __name__ == "__main__":
    with as_program():
        main()
