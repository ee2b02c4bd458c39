"""A whole run in a simulator that knows X, on memories that are not ours, equals the golden model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from hw.accelerator import Accelerator
from hw.contract.config import preset
from hw.verilog import generate_verilog
from sim.random_checkpoint import write_random_checkpoint
from sw.requests import Job
from tests.other_tools.icarus import needs_icarus, run_tests
from tests.system.test_sim_equals_golden import golden, image_of

JOB = Job(prompt=(3, 1, 30), max_new_tokens=2, chunk=2, all_logits=True)


def small_model(folder: Path) -> Path:
    """A random checkpoint of one layer; 15,000 clocks for the job."""
    write_random_checkpoint(folder / "m", hidden=64, intermediate=96, layers=1, heads=2, kv_heads=1, vocab=33,
                            positions=24, seed=3)
    return folder / "m"


@pytest.mark.long
@needs_icarus
def test_whole_runs(tmp_path: Path) -> None:
    """Prompt in two passes, a new token, KV cache; also after resets within read and write bursts."""
    config = preset("tiny")
    image = image_of(small_model(tmp_path), config, tmp_path)
    expected = golden(config, image, JOB)
    np.save(tmp_path / "logits.npy", np.stack(expected.logits))
    file = tmp_path / "accelerator.v"
    file.write_text(generate_verilog(Accelerator(config), "accelerator").text)
    run_tests(file, "accelerator", "tests.other_tools.four_state_bench", tmp_path / "icarus", config, {
        "image": str(image.path), "request": asdict(JOB), "tokens": expected.tokens,
        "logits": str(tmp_path / "logits.npy"),
    })
