"""Measures performance in simulation at the widths of bitnet-b1.58-2B-4T, or at the largest of a preset that cannot run
them: `make bench` (docs/results/performance.json).

    python -m tools.bench [--preset NAME] [--memory NAME] [--contexts N ...] [--prompts N ...] [--sequences N ...]

Checkpoints of one and of two layers of full width, with a small vocabulary, run on the simulated accelerator. A layer's
clocks are the difference between the two. The figures of the whole model are computed from them: 30 times a layer, what
one layer takes beside it, and the LM head of the small vocabulary times the ratio of the heads' beats. They are marked
as a projection. `make full-token` runs the whole model. With a split head, one layer also runs with the whole
vocabulary, with the head full and split.

Each run is saved in build/bench, and is found there after an interruption as long as no source has changed. The result
of a preset with a memory replaces the one before; those of others stay.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from boards.results import machine
from hw.contract.config import AccelConfig
from hw.contract.preset_file import find_preset
from hw.extras import as_program
from sim.memory.part import IDEAL, MEMORIES
from sim.memory.reference import sequential_bytes_per_cycle
from sim.profile.required import macs_per_cycle, required_bytes, ternary_macs
from sim.profile.runs import opened, prompt_of, run, token_at, tokens_at
from sim.random_checkpoint import write_random_checkpoint
from sw.checkpoint import Checkpoint
from sw.driver import Driver, Generation
from sw.image import ModelImage
from sw.installed import commit
from sw.model_plan import ModelPlan
from sw.model_shape import ModelShape
from sw.pack import pack
from sw.split_head import HEADS, HeadCounts, guard_of
from sw.whole_file import whole_file
from tools.measured import LONG_TEXT, statistics
from tools.saved import Saved, sources

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "docs" / "results" / "performance.json"
SAVED = ROOT / "build" / "bench"
MODEL = ModelShape(hidden=2560, intermediate=6912, layers=30, heads=20, kv_heads=5, head_dim=128, vocab=128256,
                   context=4096, sequences=1)
"""bitnet-b1.58-2B-4T."""
SMALL_VOCABULARY = 4096
CONTEXTS, PROMPTS, SEQUENCES = (256, 2048, 4095), (128, 1024), (2, 4, 8)
WHOLE_PROMPT, PIECE, SAMPLED = 128, 64, 4
"""A longer prompt than the first is not run as a whole: of its pieces of so many tokens, every fourth is, and the last,
each behind as many cached positions. The clocks of the others lie on the line between."""


def largest_model(config: AccelConfig) -> ModelShape:
    """`MODEL`, or the largest one below it that the accelerator can run: each size is at its maximum then."""
    hidden, head_dim = min(MODEL.hidden, config.max_hidden), min(MODEL.head_dim, config.max_head_dim)
    heads = hidden // head_dim
    return replace(
        MODEL, hidden=hidden, intermediate=min(MODEL.intermediate, config.max_intermediate), heads=heads,
        kv_heads=heads // min(MODEL.heads // MODEL.kv_heads, config.max_group), head_dim=head_dim,
        vocab=min(MODEL.vocab, config.max_vocab), context=min(MODEL.context, config.max_positions))


class Bench:
    """Runs on one preset with one memory, each saved by its name."""

    def __init__(
        self, config: AccelConfig, memory: str, folder: Path, model: ModelShape | None = None, *, named: str = "",
    ) -> None:
        self._named = named or config.name  # what the option --preset takes
        self.config, self.memory, self.model, self._folder = config, memory, model or largest_model(config), folder
        self._saved = Saved(SAVED / f"{config.design_hash[:16]}-{memory}-{sources()}.json")
        self.runs: dict[str, dict[str, Any]] = {}

    def plan(self, layers: int) -> ModelPlan:
        """The plan of a checkpoint of so many layers."""
        return ModelPlan(self.config, replace(self.model, layers=layers, vocab=self._vocabulary))

    def _whole(self, one: dict[str, Any], layer: dict[str, int]) -> tuple[int, int]:
        """Clocks of the whole model, and of its LM head, from a run of one layer and the clocks of a layer. Those in
        which the LM head waits for its activations, or for its last logits, do not grow with the vocabulary."""
        small_head, waiting = (one["counters"][f"lm_head_{what}"] for what in ("busy", "waiting"))
        ratio = ModelPlan(self.config, self.model).regions["head"].size / self.plan(1).regions["head"].size
        head = (small_head - waiting) * ratio + waiting
        cycles = self.model.layers * layer["cycles"] + one["cycles"] - layer["cycles"] - small_head + head
        return round(cycles), round(head)

    @property
    def _vocabulary(self) -> int:
        return min(SMALL_VOCABULARY, self.model.vocab)

    def _image(self, layers: int, positions: int, sequences: int, vocabulary: int = 0) -> ModelImage:
        """An image of a checkpoint of full width with so many slots of so many positions. With a vocabulary, it has
        that, and a high plane."""
        model, folder = self.model, self._folder / f"{layers}-{vocabulary}"
        if not folder.exists():
            write_random_checkpoint(
                folder, hidden=model.hidden, intermediate=model.intermediate, layers=layers, heads=model.heads,
                kv_heads=model.kv_heads, head_dim=model.head_dim, vocab=vocabulary or self._vocabulary,
                positions=model.context, rope_theta=500000.0, seed=1)
        path = self._folder / f"{layers}-{positions}-{sequences}-{vocabulary}.img"
        pack(Checkpoint.open(folder), path, self.config, context=positions, sequences=sequences, split=vocabulary > 0)
        return ModelImage.open(path, self.config)

    def _measured(self, layers: int, cached: int, prompt: int, sequences: int) -> dict[str, Any]:
        image = self._image(layers, cached + max(1, prompt), sequences)
        with opened(image, self.memory, cached) as link:
            token = tokens_at(image.plan, cached, sequences) if sequences > 1 else token_at(image.plan, cached)
            stats = run(link, prompt_of(image.plan, prompt, cached) if prompt else token)
        return {"cycles": stats.cycles, "seconds": stats.seconds, "counters": dict(stats.counters)}

    def _run(self, layers: int, cached: int = 0, prompt: int = 0, sequences: int = 1) -> dict[str, Any]:
        what = f"prompt of {prompt}" if prompt else f"tokens of {sequences} sequences" if sequences > 1 else "token"
        name = f"{layers} layers, {what}" + (f" behind {cached} positions" if cached or not prompt else "")
        self.runs[name] = self._saved.get(name, lambda: self._measured(layers, cached, prompt, sequences))
        return self.runs[name]

    def _layer(self, **what: int) -> dict[str, int]:
        """Clocks of a layer, by counter, and `cycles`: the difference between two layers and one."""
        one, two = self._run(1, **what), self._run(2, **what)
        counters = {name: clocks - one["counters"][name] for name, clocks in two["counters"].items()}
        return {"cycles": two["cycles"] - one["cycles"], **counters}

    def decode(self, cached: int) -> dict[str, Any]:
        """A token: measured per layer, projected for the whole model."""
        bandwidth, layer, one = self.bandwidth, self._layer(cached=cached), self._run(1, cached=cached)
        bytes_of_layer = required_bytes(self.plan(2), cached) - required_bytes(self.plan(1), cached)
        cycles, head = self._whole(one, layer)
        needed = required_bytes(ModelPlan(self.config, self.model), cached)
        return {
            "layer_cycles": layer["cycles"], "layer_required_bytes": bytes_of_layer,
            "layer_efficiency": bytes_of_layer / (bandwidth * layer["cycles"]),
            "attend_cycles_per_layer": layer["attention_busy"],
            "projection": {
                "layers": self.model.layers, "lm_head_cycles": head, "cycles_per_token": cycles,
                "required_bytes": needed, "stream_efficiency": needed / (bandwidth * cycles)},
        }

    def batch(self, cached: int, sequences: int) -> dict[str, Any]:
        """A token of each of several sequences in one pass: measured per layer, projected for the whole model."""
        what = {"cached": cached, "sequences": sequences}
        one, layer = self._run(1, **what), self._layer(**what)
        cycles, head = self._whole(one, layer)
        alone, _ = self._whole(self._run(1, cached=cached), self._layer(cached=cached))
        return {
            "cached": cached, "layer_cycles": layer["cycles"],
            "projection": {"layers": self.model.layers, "lm_head_cycles": head, "cycles_per_pass": cycles,
                           "speedup": sequences * alone / cycles},
        }

    def _head(self, kind: str) -> dict[str, Any]:
        image = self._image(1, 1, 1, self.model.vocab)
        with opened(image, self.memory, 0) as link:
            driver = Driver(link)
            driver.run(replace(token_at(image.plan, 0), guard=guard_of(kind)), [Generation([])])
            stats, heads = link.stats, driver.heads or HeadCounts()
            assert stats is not None
            return {"cycles": stats.cycles, "seconds": stats.seconds, "counters": dict(stats.counters), **asdict(heads)}

    def split_head(self, decode: dict[str, Any]) -> dict[str, Any]:
        """The LM head of the whole vocabulary, full and split: measured on random rows. What a token
        takes with a split head is projected from that with the full one."""
        found = {}
        for kind in HEADS:
            name = f"{kind} head of {self.model.vocab} rows"
            one = self.runs[name] = self._saved.get(name, partial(self._head, kind))
            found[kind] = {"lm_head_cycles": one["counters"]["lm_head_busy"]} | {
                name: one[name] for name in ("rows_listed", "rows_rescored", "heads_repeated")}
        saved = found["full"]["lm_head_cycles"] - found["split"]["lm_head_cycles"]
        return found | {"projection": {
            cached: {"cycles_per_token": one["projection"]["cycles_per_token"] - saved}
            for cached, one in decode.items()}}

    def prefill(self, prompt: int) -> dict[str, Any]:
        """A prompt: per layer, with attention, without the LM head. A long one is estimated from pieces."""
        if prompt <= WHOLE_PROMPT:
            pieces = {0: self._prompt(0, prompt)}
            cycles = pieces[0]
        else:
            starts = [*range(0, prompt, PIECE)]
            pieces = {start: self._prompt(start, PIECE) for start in sorted({*starts[::SAMPLED], starts[-1]})}
            cycles = round(sum(np.interp(starts, [*pieces], [*pieces.values()])) * prompt / (PIECE * len(starts)))
        macs = (ternary_macs(self.plan(2)) - ternary_macs(self.plan(1))) * prompt
        return {"layer_cycles": cycles, "layer_macs": macs, "cycles_by_first_position": pieces,
                "array_utilization": macs / (macs_per_cycle(self.config, self.bandwidth) * cycles)}

    def _prompt(self, start: int, tokens: int) -> int:
        layer = self._layer(cached=start, prompt=tokens)
        return layer["cycles"] - layer["lm_head_busy"]

    @property
    def bandwidth(self) -> float:
        """Bytes per clock of sequential reads."""
        return sequential_bytes_per_cycle(self.memory, self.config)

    def demo(self) -> dict[str, Any]:
        """The demo model's statistics on the preset."""
        options = ["--backend", "sim", "--preset", self._named, *LONG_TEXT]
        return self._saved.get("demo", lambda: statistics(options, self._folder))

    def result(self, contexts: Sequence[int], prompts: Sequence[int], sequences: Sequence[int]) -> dict[str, Any]:
        """All figures of the preset with the memory."""
        first, chunk, columns = self._layer(cached=0), self._layer(prompt=self.config.columns), self.config.columns
        decode = {str(cached): self.decode(cached) for cached in contexts}
        prefill = {str(prompt): self.prefill(prompt) for prompt in prompts}
        attend = {0: first["attention_busy"]} | {n: decode[str(n)]["attend_cycles_per_layer"] for n in contexts}
        low, high = min(contexts), max(attend)
        start = low if low < high else 0
        demo = self.demo()
        return {
            "preset": self.config.name, "design_hash": self.config.design_hash,
            "model": asdict(self.model),
            "memory": {"name": self.memory, "sequential_bytes_per_cycle": self.bandwidth},
            "decode": decode,
            "attend": {"cycles_per_position_and_layer": (attend[high] - attend[start]) / (high - start),
                       "from_position": start, "to_position": high, "cycles_at_one_position": attend[0]},
            "norm_cycles_per_layer": {"decode": first["norm_busy"], "chunk": chunk["norm_busy"], "columns": columns},
            "prefill": prefill,
            **({"split_head": self.split_head(decode)} if self.config.candidates else {}),
            "batch": {str(number): self.batch(low, number) for number in sequences if number <= columns},
            "demo": {"command": demo["command"], "cycles_per_position": demo["stats"]["cycles_per_token"]},
            "simulated_cycles_per_second": sum(one["cycles"] for one in self.runs.values())
            / sum(one["seconds"] for one in self.runs.values()),
            "runs": self.runs,
        }


def main(arguments: list[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--preset", default="kv260")
    parser.add_argument("--memory", default=IDEAL, choices=MEMORIES)
    parser.add_argument("--contexts", type=int, nargs="+", default=CONTEXTS, help="cached positions before a token")
    parser.add_argument("--prompts", type=int, nargs="*", default=PROMPTS, help="tokens of a prompt")
    parser.add_argument("--sequences", type=int, nargs="*", default=SEQUENCES, help="sequences that decode together")
    options = parser.parse_args(arguments)
    command = " ".join(["python -m tools.bench", *arguments])
    with tempfile.TemporaryDirectory() as folder:
        config = find_preset(options.preset)
        bench = Bench(config, options.memory, Path(folder), named=options.preset)
        found = bench.result(options.contexts, options.prompts, options.sequences)
    made = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": commit(), "machine": machine(),
            "python": platform.python_version(), "command": command}
    record = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    record[f"{config.name}, {options.memory}"] = {"made": made, **found}
    with whole_file(RESULT) as file:
        file.write((json.dumps(record, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    with as_program():
        sys.exit(main(sys.argv[1:]))
