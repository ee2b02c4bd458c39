"""Padding of heads: what is packed, and that logits stay those of the model in every configuration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hw.contract.config import PRESETS
from sim.float_reference import FloatReference
from sim.random_checkpoint import write_random_checkpoint
from sw.head_padding import pad_inputs, pad_outputs, padded_head, padded_weights
from sw.ternary import TernaryMatrix
from tests.golden.test_machine import accelerator, scores


def matrix(trits: np.ndarray) -> TernaryMatrix:
    return TernaryMatrix(trits.shape, 0.5, None, lambda start, stop: trits[start:stop])


@pytest.mark.parametrize(("head_dim", "padded"), [(2, 16), (16, 16), (64, 64), (80, 80), (96, 96), (100, 112), (8, 16)])
def test_length_of_a_padded_head(head_dim: int, padded: int) -> None:
    assert padded_head(head_dim) == padded


def test_both_halves_are_padded() -> None:
    trits = np.random.default_rng(1).integers(-1, 2, (40, 40)).astype(np.int8)  # two heads of 20
    places = [*range(10), *range(16, 26), *range(32, 42), *range(48, 58)]
    rows = np.concatenate(list(pad_outputs(matrix(trits), 20).blocks(4)))
    columns = np.concatenate(list(pad_inputs(matrix(trits), 20).blocks(4)))
    assert rows.shape == (64, 40)
    assert columns.shape == (40, 64)
    np.testing.assert_array_equal(rows[places], trits)
    np.testing.assert_array_equal(columns[:, places], trits)
    assert np.count_nonzero(rows) == np.count_nonzero(columns) == np.count_nonzero(trits)
    weights = padded_weights(np.arange(1, 41, dtype=np.float32), 20)
    np.testing.assert_array_equal(weights[places], np.arange(1, 41))
    assert weights.sum() == np.arange(1, 41).sum()


def test_part_of_the_padded_rows() -> None:
    trits = np.ones((20, 3), dtype=np.int8)
    padded = pad_outputs(matrix(trits), 10)
    whole = padded.rows(0, 32)
    for start in range(0, 32, 3):
        np.testing.assert_array_equal(padded.rows(start, min(32, start + 3)), whole[start : start + 3])


def test_logits_with_padded_heads(tmp_path: Path) -> None:
    """A model with 4 heads of 100: the same logits on one and on four ports, close to float64."""
    checkpoint = tmp_path / "model"
    write_random_checkpoint(
        checkpoint, hidden=400, intermediate=256, layers=1, heads=4, kv_heads=2, vocab=64, positions=80, seed=1)
    narrow = PRESETS["tiny"]
    wide = narrow.replace(ports=4, port_bits=128, rows=16, columns=8, vector=4, query_rows=8)
    prompt = tuple(int(t) for t in np.random.default_rng(1).integers(0, 64, 70))
    found = scores(accelerator(checkpoint, narrow, tmp_path / "narrow"), prompt, 2)
    np.testing.assert_array_equal(scores(accelerator(checkpoint, wide, tmp_path / "wide"), prompt, 8), found)
    exact = FloatReference(checkpoint).logits(prompt)
    assert np.sqrt(np.mean((found - exact) ** 2)) < 0.05 * exact.std()
