"""Every shape on every preset: sim equals golden on each logit, and all presets give the same ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hw.contract.config import PRESETS, ConfigError
from sim.random_checkpoint import write_random_checkpoint
from sw.checkpoint import Checkpoint
from sw.pack import pack
from sw.requests import Job
from tests.system.test_sim_equals_golden import assert_same, awkward, golden, image_of, simulated

pytestmark = pytest.mark.timeout(1800)  # the first test of a preset builds its simulator

WIDE = ("medium", "kv260")
NARROW = ("tiny", "ulx3s")
SHAPES: dict[str, dict[str, Any]] = {
    "FFN 6912, one query head per KV head": {
        "hidden": 128, "intermediate": 6912, "layers": 1, "heads": 2, "kv_heads": 2, "vocab": 259,
    },
    "FFN 1728, four query heads on one of head_dim 64": {
        "hidden": 256, "intermediate": 1728, "layers": 1, "heads": 4, "kv_heads": 1, "vocab": 97, "separate_head": True,
    },
    "head_dim 128, two query heads on one, bitlinear scales": {
        "hidden": 512, "intermediate": 344, "layers": 2, "heads": 4, "kv_heads": 2, "vocab": 130, "bitlinear": True,
    },
    "residual in the thousands": {
        "hidden": 320, "intermediate": 864, "layers": 2, "heads": 5, "kv_heads": 1, "vocab": 64,
        "embedding_gain": 4000.0, "outlier_channels": 4, "outlier_gain": 100.0,
    },
    "rows that are all zero": {
        "hidden": 128, "intermediate": 348, "layers": 2, "heads": 2, "kv_heads": 1, "vocab": 70, "zero_rows": 40,
    },
    "embedding that is all zero": {
        "hidden": 64, "intermediate": 68, "layers": 1, "heads": 1, "kv_heads": 1, "vocab": 40, "embedding_gain": 0.0,
    },
}


def score(
    preset: str, checkpoint: Path, folder: Path, prompt: tuple[int, ...], context: int | None = None
) -> None:
    """Prompt in chunks of T and three new tokens on a preset, if it runs the model, with a memory seed of its own.

    What is expected is the same for all: the golden model's of `medium`.
    """
    config, seed = PRESETS[preset], 1 + (*WIDE, *NARROW).index(preset)
    try:
        image = image_of(checkpoint, config, folder, context)
    except ConfigError:
        assert preset in NARROW
        return
    job = Job(prompt=prompt, max_new_tokens=3, chunk=config.columns, all_logits=True)
    medium = PRESETS["medium"]
    expected = golden(medium, image_of(checkpoint, medium, folder, context), replace(job, chunk=medium.columns))
    assert_same(golden(config, image, job), expected)
    got, cycles = simulated(config, image, job, seed)
    assert_same(got, expected)
    print(f"\n{preset}: {cycles} cycles for {len(got.logits)} positions")


EVERYWHERE = pytest.mark.parametrize("preset", [*WIDE, *NARROW])


@pytest.mark.long
@EVERYWHERE
@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name: str, preset: str, tmp_path: Path) -> None:
    shape = SHAPES[name]
    write_random_checkpoint(tmp_path / "m", positions=64, seed=21, **shape)
    prompt = tuple(int(t) for t in np.random.default_rng(22).integers(0, shape["vocab"], 19))
    score(preset, tmp_path / "m", tmp_path, prompt)


@pytest.mark.long
@EVERYWHERE
def test_prompt_of_one_token(preset: str, tmp_path: Path) -> None:
    score(preset, awkward(tmp_path), tmp_path, (776,))


@pytest.mark.long
@EVERYWHERE
def test_context_filled_to_its_last_position(preset: str, tmp_path: Path) -> None:
    score(preset, awkward(tmp_path), tmp_path, tuple(range(100, 131)), context=33)


@pytest.mark.parametrize("name", WIDE)
def test_16_bit_cache(name: str, tmp_path: Path) -> None:
    """The narrow preset is the reference: the cache's width is part of the numbers, lanes and ports are not."""
    narrow, config = PRESETS["tiny-kv16"], PRESETS[name].replace(name=f"{name}-kv16", kv_bits=16)
    checkpoint, prompt = awkward(tmp_path), tuple(range(20, 31))
    job = Job(prompt=prompt, max_new_tokens=2, chunk=2, all_logits=True)
    expected = golden(narrow, image_of(checkpoint, narrow, tmp_path), job)
    assert_same(golden(config, image_of(checkpoint, config, tmp_path), job), expected)


def test_too_large_for_a_preset(tmp_path: Path) -> None:
    """One sentence with both numbers, and no file."""
    write_random_checkpoint(tmp_path / "m", positions=64, seed=1, **SHAPES["FFN 6912, one query head per KV head"])
    path = tmp_path / "m.img"
    with pytest.raises(ConfigError, match=r"FFN size is 6912, but preset tiny supports at most 2048"):
        pack(Checkpoint.open(tmp_path / "m"), path, PRESETS["tiny"])
    assert not path.exists()
