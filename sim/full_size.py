"""The tool chain at the size of microsoft/bitnet-b1.58-2B-4T: `make full-size`, or `python -m sim.full_size`.

Makes a seeded random checkpoint of that shape in build/full-size, runs the command line on it, each command in a
process of its own, and writes what they took to docs/results/full-size.md. Takes 4 GB of disk and some minutes.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from sim.layouts import LAYOUTS
from sw.whole_file import whole_file

__all__ = ["FULL_SIZE", "machine", "main"]

FULL_SIZE = {**LAYOUTS["2b-4t"].fields, "seed": 1}
"""The shape of microsoft/bitnet-b1.58-2B-4T, and the seed of its weights here."""

CHECKPOINT = Path("build/full-size/checkpoint")
RESULTS = Path("docs/results/full-size.md")
MEASURED_PRESETS = ("medium", "kv260")
TIMEOUT_S = 3600


@dataclass(frozen=True)
class Measured:
    """A command, what it printed, and what it took: wall clock, processor time, largest resident set."""

    command: str
    output: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int


def _measure(*arguments: str) -> Measured:
    """Runs `python -m ARGUMENTS`. Raises SystemExit with its exit code if it fails, or after TIMEOUT_S."""
    command = " ".join(("python -m", *arguments))
    print(command, file=sys.stderr)
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    timer = threading.Timer(TIMEOUT_S, process.kill)
    timer.start()
    try:
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(process.returncode)
    return Measured(command, output, time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def machine() -> str:
    """Processor, cores, memory and load, for a report."""
    model = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores of {model}, {memory / 2**30:.0f} GiB of memory, load {load:.1f}"


def _bytes_table(images: list[dict[str, Any]]) -> list[str]:
    """What a token reads, and what it would have to."""
    rows = [["bytes", *(image["preset"] for image in images)]]
    rows.append(["---", *("---:" for _ in images)])
    for group, name, what in (
        ("required", "weights", "required: weights, ceil(K M / 5) per BitLinear"),
        ("required", "head", "required: head, int8 rows and float32 scales"),
        ("read", "stream", "read: region `stream`"),
        ("read", "head", "read: region `head`"),
        ("read", "embed", "read: a row of `embed`"),
        ("read", "rope", "read: a row of `rope`"),
    ):
        rows.append([what, *(f"{image['token_bytes'][group][name]:,}" for image in images)])
    rows.append(["**read beyond what is required**", *(f"{image['token_bytes']['overhead']:.4%}" for image in images)])
    rows.append(["whole image", *(f"{image['image_bytes']:,}" for image in images)])
    rows.append(["KV cache of 4096 positions", *(f"{image['kv_bytes']:,}" for image in images)])
    return [f"| {' | '.join(row)} |" for row in rows]


def _report(where: str, steps: list[Measured], images: list[dict[str, Any]], text: str) -> str:
    lines = [
        "# Full size",
        "",
        "Written by `make full-size`. The checkpoint has the shape of microsoft/bitnet-b1.58-2B-4T and seeded random",
        "weights: 30 layers, hidden 2560, FFN 6912, 20 heads and 5 KV heads of 128, vocabulary 128256, 4096 positions,",
        "tied head.",
        "",
        f"{date.today().isoformat()}, {where}, Python {platform.python_version()}.",
        "",
        "| command | wall s | processor s | peak MB |",
        "| --- | ---: | ---: | ---: |",
        *(f"| `{s.command}` | {s.seconds:.1f} | {s.cpu_seconds:.1f} | {s.peak_bytes / 1e6:,.0f} |" for s in steps),
        "",
        "`inspect` reads the whole image and checks CRCs, packets and numbers; its peak includes the mapped file.",
        "The last command runs the golden model for one token, through all layers and the head; it generated the "
        f"text {text!r}.",
        "",
        "Bytes read per token of one sequence, without the cached positions:",
        "",
        *_bytes_table(images),
        "",
    ]
    return "\n".join(lines)


def _everything() -> str:
    """All steps, and the report on them."""
    where, folder = machine(), str(CHECKPOINT)
    steps = [_measure("sw", "make-checkpoint", "--like", "2b-4t", "--seed", str(FULL_SIZE["seed"]), "-o", folder,
                      "--force"),
             _measure("sw", "inspect", folder, "--json")]
    images = []
    for name in MEASURED_PRESETS:
        path = str(CHECKPOINT.with_name(f"{name}.img"))
        steps.append(_measure("sw", "pack", folder, "-o", path, "--preset", name))
        steps.append(_measure("sw", "inspect", path, "--json"))
        images.append(json.loads(steps[-1].output))
    steps.append(_measure(
        "sw", "generate", folder, "--image", images[0]["image"], "--preset", MEASURED_PRESETS[0], "--prompt-ids", "1",
        "--max-new-tokens", "1",
    ))
    return _report(where, steps, images, steps[-1].output.strip())


def main() -> None:
    """All steps. Raises SystemExit for a step that fails."""
    with whole_file(RESULTS) as file:
        file.write(_everything().encode())


if __name__ == "__main__":
    main()
