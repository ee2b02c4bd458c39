"""A small board, whole: accelerator, serial bridge and memory in Verilator, with the unmodified host at its line."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from hw.contract.config import PRESETS
from sim.bench import run_bench
from sim.links.golden import GoldenLink
from sim.memory.top import SimulatedMemory
from sim.random_checkpoint import write_random_checkpoint
from sw.checkpoint import Checkpoint
from sw.image import ModelImage
from sw.pack import pack
from sw.requests import Batch, Entry, Job
from tests.system.serial_machine import MEMORY_BYTES, SerialMachine

CONFIG = PRESETS["tiny"]
REQUESTS = (
    Job(prompt=(3, 1, 30, 4, 15), max_new_tokens=6, chunk=2, slot=1, all_logits=True),
    Job(prompt=(9, 9), max_new_tokens=3, chunk=1),
    Batch(entries=(Entry(3, 0, 1), Entry(30, 0, 0)), max_new_tokens=3, all_logits=True),
)


@pytest.mark.parametrize("seed", [0, pytest.param(2, marks=pytest.mark.long)])
def test_equals_golden(seed: int, tmp_path: Path) -> None:
    """Tokens and every logit of three requests, after one load."""
    checkpoint = write_random_checkpoint(tmp_path / "c", hidden=64, intermediate=96, layers=2, heads=2, kv_heads=1,
                                         vocab=33, positions=24, seed=3)
    pack(Checkpoint.open(checkpoint), tmp_path / "i", CONFIG, sequences=2)
    image = ModelImage.open(tmp_path / "i", CONFIG)
    path = tmp_path / "found.json"
    run_bench(SerialMachine(CONFIG), CONFIG, "tests.system.serial_bench", top="serial_machine",
              memory=SimulatedMemory(size=MEMORY_BYTES, seed=seed),
              parameters={"found": str(path), "image": str(image.path), "requests": [asdict(one) for one in REQUESTS]})
    found = json.loads(path.read_text())
    golden = GoldenLink(image)
    for request, one in zip(REQUESTS, found, strict=True):
        steps = list(golden.run(request))
        assert one["tokens"] == [step.token for step in steps if step.token is not None]
        rows = [row for step in steps for row in step.rows]
        assert len(one["rows"]) == len(rows)
        for mine, theirs in zip(one["rows"], rows, strict=True):
            np.testing.assert_array_equal(np.array(mine), theirs)
        assert one["cycles"] > 0
