"""Unpacked master weights against Hugging Face transformers: the same trits, the same scales, the same logits.

The recorded run (tests/references/make_master_references.py) works in float32. Measured: all trits equal, scales within
1.4e-7, logits within 4.6e-7 of the deviation of the logits once the activation codes are replayed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sim.float_reference import FloatReference
from sw.checkpoint import Checkpoint
from tests.golden.test_float_reference import distance
from tests.references.random_shapes import MASTER_SHAPES, write_shape

RECORDED = Path(__file__).parents[1] / "references" / "master-weights.npz"


@pytest.fixture(params=MASTER_SHAPES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, NDArray[Any]]]:
    """A checkpoint and what was recorded of it."""
    name = request.param
    with np.load(RECORDED) as file:
        found = {key.removeprefix(f"{name}/"): file[key] for key in file.files if key.startswith(f"{name}/")}
    return write_shape(name, tmp_path), found


def test_weights(case: tuple[Path, dict[str, NDArray[Any]]]) -> None:
    checkpoint, found = Checkpoint.open(case[0]), case[1]
    layers = [key.removeprefix("trits/") for key in found if key.startswith("trits/")]
    assert len(layers) == 7 * checkpoint.config.num_hidden_layers
    for layer in layers:
        matrix = checkpoint.ternary(f"{layer}.weight")
        assert np.array_equal(np.concatenate(list(matrix.blocks())), found[f"trits/{layer}"])
        assert matrix.scale == pytest.approx(float(found[f"scale/{layer}"]), rel=5e-7)


def test_logits(case: tuple[Path, dict[str, NDArray[Any]]]) -> None:
    checkpoint, found = case
    codes = {key.removeprefix("codes/"): value for key, value in found.items() if key.startswith("codes/")}
    assert len(codes) == 4 * 2
    want = FloatReference(checkpoint).logits(found["tokens"].tolist(), codes=codes)
    print(f"\n{checkpoint.name}: {distance(found['logits'], want).max():.2g}")
    assert distance(found["logits"], want).max() < 5e-6
