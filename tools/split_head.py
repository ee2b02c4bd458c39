"""Measures the choices of the split head: `make split-head` (docs/results/split_head.json and .md).

The demo model runs on the golden machine for 20,480 positions of text that it draws itself; each position is a choice
between the split and the full head. Heads of 128,256 x 2,560 are random, since no trained one is at hand, and so is how
far a logit stands out: it is constructed, and nothing here says how far it does in a trained model.
All sums are exact: float64 holds them. Takes ten minutes and 3 GB of memory.
"""

from __future__ import annotations

import heapq
import json
import math
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boards.results import machine
from hw.contract.config import PRESETS, AccelConfig
from hw.contract.head_layout import HeadLayout
from hw.contract.high_plane import ERROR_VARIANCE, GUARD_FRACTION_BITS, STEP, HighPlane, guard, high_codes
from hw.extras import as_program
from sim.golden.head_rows import head_rows
from sim.golden.machine import GoldenMachine
from sim.golden.number import Array, rnd
from sw.checkpoint import Checkpoint
from sw.image import ModelImage
from sw.installed import commit
from sw.pack import pack
from sw.split_head import DEVIATIONS
from sw.whole_file import whole_file

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "docs" / "results" / "split_head.json"
DEMO = ROOT / "models" / "shakespeare-nano"
DEMO_POSITIONS, GUARDS, LISTS = 20_480, (DEVIATIONS, 6, 4), (64, 128, 256)
VOCAB, HIDDEN, LIST = 128_256, 2_560, 8_192
KV260 = PRESETS["kv260"].replace(candidates=LIST)
HEIGHTS, EACH, FLAT, OUTLIER = (5, 6, 8, 10), 4, 24, 100
LEVELS = {"four bits": (STEP, 16), "three levels": (127, 3)}
"""Steps and levels of a first plane: 255 codes and a dither below the step fit into them."""
BEST = 64
CHUNK = 4_096
"""Rows at a time."""


def demo_activations(config: AccelConfig, image: ModelImage, positions: int) -> tuple[Array, Array]:
    """16-bit activations [n, k] and their scales [n] of texts that the model draws, a column each."""
    golden, random = GoldenMachine(image), np.random.default_rng(1)
    found, columns, context = [], config.columns, image.plan.shape.context
    for start in range(0, positions, columns * context):
        tokens = random.integers(0, image.plan.shape.vocab, columns).tolist()
        for position in range(min(context, math.ceil((positions - start) / columns))):
            rows = golden.run_pass(tokens, [position] * columns, range(columns), [True] * columns)
            found.append((golden.act.astype(np.float64), golden.act_scale.copy()))
            chances = [np.exp(row - row.max()) for row in rows if row is not None]
            tokens = [int(random.choice(len(one), p=one / one.sum())) for one in chances]
    return np.concatenate([act for act, _ in found]), np.concatenate([scale for _, scale in found])


def reaches(a16: Array, deviations: float, variance: float = ERROR_VARIANCE) -> Array:
    """Reach of each vector of activations, [n]."""
    value = math.ceil(guard(deviations) * math.sqrt(variance / ERROR_VARIANCE))
    squares = (a16.astype(np.int64) ** 2).sum(axis=1)
    return np.array([((math.isqrt(int(one)) + 1) * value >> GUARD_FRACTION_BITS) + 1 for one in squares], dtype=float)


def counted(sums: Array, reach: Array, factor: Array, best: int = 1) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Rows listed, [n], and whether a row is rescored, [n, m]; of sums [n, m] with the values `factor` [n, m]. `best`:
    so many of the largest logits are wanted."""
    lower, upper = (rnd(rnd(sums + sign * reach[:, None]) * factor) for sign in (-1, 1))
    if best > 1:
        running = np.array([_running(row, best) for row in lower])
        return (upper >= running).sum(axis=1), (upper >= running) & (upper >= running[:, -1:])
    listed = upper >= np.maximum.accumulate(lower, axis=1)
    return listed.sum(axis=1), listed & (upper >= lower.max(axis=1)[:, None])


def _running(row: Array, best: int) -> Array:
    """Of each place the `best`-th largest number up to it; below all as long as there are fewer."""
    heap, found = [-math.inf] * best, np.empty(len(row))
    for n, number in enumerate(row.tolist()):
        if number > heap[0]:
            heapq.heapreplace(heap, number)
        found[n] = heap[0]
    return found


def summary(listed: NDArray[np.intp], left: NDArray[np.bool_], logits: Array, lists: tuple[int, ...]) -> dict[str, Any]:
    """Counts of a set of choices, and how many of them are those of the full head."""
    rescored = left.sum(axis=1)
    same = np.where(left, logits, -np.inf).argmax(axis=1) == logits.argmax(axis=1)
    return {
        "choices": len(listed), "same_token": int(same.sum()),
        **{name: {"mean": float(one.mean()), "median": float(np.median(one)), "p99": float(np.quantile(one, 0.99)),
                  "most": int(one.max())} for name, one in (("listed", listed), ("rescored", rescored))},
        "whole_head_read": {str(size): int((listed > size).sum()) for size in lists},
    }


def bytes_of(config: AccelConfig, hidden: int, vocab: int, rescored: float) -> dict[str, float]:
    """What the hardware reads for a token, and the beats of the packet stream that it takes: of a rescored row as many
    as of a row on one port, since all ports read."""
    head, plane = HeadLayout(config, hidden, vocab), HighPlane(config, hidden, vocab)
    rows = rescored * head.row_beats * config.stream_bytes
    return {"full": head.payload_bytes, "split": plane.payload_bytes + rows,
            "full_beats": head.payload_bytes / config.stream_bytes,
            "split_beats": (plane.payload_bytes + rows) / config.stream_bytes}


def demo(folder: Path, positions: int) -> dict[str, Any]:
    """Part A: the demo model."""
    config = PRESETS["tiny"].replace(columns=8, query_rows=8, candidates=256)
    pack(Checkpoint.open(DEMO), folder / "demo.img", config, sequences=8, split=True)
    image = ModelImage.open(folder / "demo.img", config)
    a16, hs = demo_activations(config, image, positions)
    payload = GoldenMachine(image).streams["head"][config.header_bytes :]
    rows, scales = head_rows(image.plan.head_layout, payload)
    dither = np.random.default_rng(2).integers(0, STEP, rows.shape[1])
    exact, factor = a16 @ rows.astype(float).T, rnd(hs[:, None] * scales)
    sums = STEP * (a16 @ high_codes(rows, dither).astype(float).T) + (a16 @ (STEP - dither))[:, None]
    logits, found = rnd(rnd(exact) * factor), {}
    for deviations in GUARDS:
        listed, left = counted(sums, reaches(a16, deviations), factor)
        found[str(deviations)] = summary(listed, left, logits, LISTS)
    error = np.abs(exact - sums) / np.sqrt(ERROR_VARIANCE * (a16**2).sum(axis=1))[:, None]
    rescored = found[str(DEVIATIONS)]["rescored"]["mean"]
    return {"deviations": found, "largest_error_in_deviations": float(error.max()),
            "bytes": bytes_of(config, rows.shape[1], len(rows), rescored)}


def activations(vocab: int, hidden: int, rows: NDArray[np.int8]) -> Iterator[tuple[str, Array]]:
    """Part B: 16-bit activations of each kind, [n, hidden]."""
    random = np.random.default_rng(3)

    def codes(y: Array) -> Array:
        return np.rint(y * (32767 / np.abs(y).max(axis=1))[:, None])

    yield "no winner", codes(random.standard_normal((FLAT, hidden)))
    for height in HEIGHTS:
        unit = rows[random.integers(0, vocab, EACH)].astype(float)
        unit /= np.sqrt((unit**2).mean(axis=1))[:, None]
        part = min(1.0, height / math.sqrt(hidden))
        noise = random.standard_normal((EACH, hidden)) * math.sqrt(1 - part**2)
        yield f"a logit {height} standard deviations above the others", codes(part * unit + noise)
    outlier = random.standard_normal((EACH, hidden))
    outlier[:, 0] = OUTLIER
    yield f"an activation {OUTLIER} times the others", codes(outlier)


def full_size(vocab: int, hidden: int) -> dict[str, Any]:
    """Parts B and C: random rows, as large as those of bitnet-b1.58-2B-4T."""
    random = np.random.default_rng(4)
    rows, scales = np.empty((vocab, hidden), dtype=np.int8), np.empty(vocab)
    for start in range(0, vocab, CHUNK):
        part = random.standard_normal((min(CHUNK, vocab - start), hidden), dtype=np.float32)
        largest = np.abs(part).max(axis=1)
        scales[start : start + CHUNK] = rnd(largest / 127)
        rows[start : start + CHUNK] = np.rint(part * (127 / largest)[:, None])
    kinds = dict(activations(vocab, hidden, rows))
    a16 = np.concatenate([*kinds.values()])
    dithers = {name: random.integers(0, step, hidden) for name, (step, _) in LEVELS.items()}
    exact, sums = np.empty((len(a16), vocab)), {name: np.empty((len(a16), vocab)) for name in LEVELS}
    for start in range(0, vocab, CHUNK):
        part = slice(start, start + CHUNK)
        codes = rows[part].astype(float)
        exact[:, part] = a16 @ codes.T
        for name, (step, levels) in LEVELS.items():
            plane = (codes + 127 + dithers[name]) // step
            value = step * plane + (step - 1) / 2 - 127 - dithers[name]
            assert plane.max() < levels
            sums[name][:, part] = a16 @ value.T
    factor, found, start = np.broadcast_to(scales, exact.shape), {}, 0
    for kind, these in kinds.items():
        part = slice(start, start + len(these))
        start = part.stop
        logits = rnd(rnd(exact[part]) * factor[part])
        found[kind] = {}
        for name, (step, _) in LEVELS.items():
            reach = reaches(these, DEVIATIONS, (step * step - 1) / 12)
            for best in (1, BEST) if name == "four bits" else (1,):
                listed, left = counted(sums[name][part], reach, factor[part], best)
                one = summary(listed, left, logits, (LIST,))
                # where the list overflows, no row is rescored and the whole head comes behind the plane
                head = HeadLayout(KV260, hidden, vocab)
                whole = head.payload_bytes / (head.row_beats * KV260.stream_bytes)
                rows = np.where(listed > LIST, whole, left.sum(axis=1)).mean()
                one["bytes"] = bytes_of(KV260, hidden, vocab, float(rows))
                found[kind][name if best == 1 else f"{name}, {best} best"] = one
    return found


def _counts(one: Mapping[str, Any], *names: str) -> str:
    return " | ".join(" ".join(f"{one[what][name]:,.0f}" for name in names) for what in ("listed", "rescored"))


def page(record: Mapping[str, Any]) -> str:
    """The record as Markdown."""
    demo, made, sizes = record["demo"], record["made"], record["demo"]["bytes"]
    first, row_beats = demo["deviations"][str(DEVIATIONS)], HeadLayout(KV260, HIDDEN, VOCAB).row_beats
    lines = [
        "# Split head: rows and bytes", "",
        f"Written by `{made['command']}`, {made['date']}, {made['machine']}.",
        "\"listed\" and \"rescored\" are rows of a token ([numerics](../numerics.md), 7.2).", "",
        f"**Demo model**, {first['choices']:,} positions, 512 rows. The largest error of a sum was "
        f"{demo['largest_error_in_deviations']:.2f} standard",
        f"deviations. With g = {DEVIATIONS}, a token reads {sizes['split']:,.0f} bytes of the head in the place of "
        f"{sizes['full']:,.0f}.", "",
        "| g | same token | listed: mean, 99 %, most | rescored: mean, 99 %, most | whole head read with a list of "
        + ", ".join(map(str, LISTS)) + " |", "| ---: | ---: | ---: | ---: | ---: |"]
    for deviations, one in demo["deviations"].items():
        whole = ", ".join(f"{count:,}" for count in one["whole_head_read"].values())
        counts = _counts(one, "mean", "p99", "most")
        lines.append(f"| {deviations} | {one['same_token']:,} | {counts} | {whole} |")
    lines += [
        "", f"**{VOCAB:,} x {HIDDEN:,} random rows**, g = {DEVIATIONS}, a list of {LIST:,}. No trained head of",
        f"that size was measured. Clocks are a projection: beats of the high plane on `kv260`, and {row_beats} for",
        "each rescored row, or the whole head behind the plane; three levels count as the same bytes.", "",
        "| activations | first plane | same token | listed: mean, most | rescored: mean, most | whole head | clocks |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |"]
    for kind, planes in record["full_size"].items():
        for name, one in planes.items():
            tokens, counts = f"{one['same_token']} of {one['choices']}", _counts(one, "mean", "most")
            lines.append(f"| {kind} | {name} | {tokens} | {counts} | {one['whole_head_read'][str(LIST)]} | "
                         f"{one['bytes']['split_beats']:,.0f} |")
    full = next(iter(record["full_size"].values()))["four bits"]["bytes"]["full_beats"]
    return "\n".join([*lines, "", f"The full head takes {full:,.0f} clocks."]) + "\n"


def main() -> int:
    """The exit code."""
    with tempfile.TemporaryDirectory() as folder:
        found = {"demo": demo(Path(folder), DEMO_POSITIONS), "full_size": full_size(VOCAB, HIDDEN)}
    made = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": commit(), "machine": machine(),
            "python": platform.python_version(), "command": "python -m tools.split_head"}
    with whole_file(RESULT) as file:
        file.write((json.dumps({"made": made, **found}, indent=1) + "\n").encode())
    RESULT.with_suffix(".md").write_text(page({"made": made, **found}))
    return 0


if __name__ == "__main__":
    with as_program():
        sys.exit(main())
