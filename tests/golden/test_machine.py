"""The golden machine: state invariance, text of the demo model, accuracy against the float64 reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hw.contract.config import PRESETS, AccelConfig
from sim.float_reference import FloatReference
from sim.links.golden import GoldenLink
from sim.random_checkpoint import write_random_checkpoint
from sw.checkpoint import Checkpoint
from sw.driver import Driver
from sw.image import ModelImage
from sw.pack import pack
from sw.requests import Job
from tests.references.random_shapes import SHAPES, write_shape

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "models" / "shakespeare-nano"
PROMPT = (50, 47, 45, 37, 47, 26, 199)
BARS = {"tiny": 1.0, "tiny-kv16": 0.65}
"""Largest rms distance to float64 as a ratio to Hugging Face bf16's own."""

EMBEDDING_BARS = {12: 1.0, 8: 1.05}
"""The same for `tiny` with so many bits of an embedding."""


def accelerator(checkpoint: Path, config: AccelConfig, path: Path, sequences: int = 1) -> Driver:
    pack(Checkpoint.open(checkpoint), path, config, sequences=sequences)
    image = ModelImage.open(path, config)
    image.verify()
    return Driver(GoldenLink(image))


def scores(acc: Driver, prompt: tuple[int, ...], chunk: int, slot: int = 0) -> np.ndarray:
    job = Job(prompt=prompt, max_new_tokens=0, chunk=chunk, slot=slot, all_logits=True)
    return np.stack(acc.generate(job).logits)


def test_demo_model_says_its_sentence(tmp_path: Path) -> None:
    result = accelerator(DEMO, PRESETS["tiny"], tmp_path / "i").generate(Job(prompt=PROMPT, max_new_tokens=9, chunk=2))
    from tokenizers import Tokenizer

    text = Tokenizer.from_file(str(DEMO / "tokenizer.json")).decode(result.tokens)
    assert text.startswith("I'll bear the world.")


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("awkward")
    write_random_checkpoint(
        path, hidden=320, intermediate=864, layers=2, heads=5, kv_heads=1, vocab=777, positions=64, seed=1
    )
    return path


@pytest.mark.parametrize("kind", ["demo", "awkward"])
def test_logits_do_not_depend_on_chunk_columns_or_slot(kind: str, awkward: Path, tmp_path: Path) -> None:
    path = DEMO if kind == "demo" else awkward
    rng = np.random.default_rng(2)
    prompt = tuple(int(t) for t in rng.integers(0, 512, 21))
    wide = PRESETS["tiny"].replace(columns=8, rows=8, inputs=5, vector=4)
    narrow = accelerator(path, PRESETS["tiny"], tmp_path / "a", sequences=2)
    expected = scores(narrow, prompt, 1)
    np.testing.assert_array_equal(scores(narrow, prompt, 2, slot=1), expected)
    np.testing.assert_array_equal(scores(accelerator(path, wide, tmp_path / "b"), prompt, 8), expected)


def test_scoring_equals_generating(tmp_path: Path) -> None:
    acc = accelerator(DEMO, PRESETS["tiny"], tmp_path / "i")
    made = acc.generate(Job(prompt=PROMPT, max_new_tokens=12, chunk=2, all_logits=True))
    assert len(made.logits) == len(PROMPT) + len(made.tokens) - 1
    fed = PROMPT + tuple(made.tokens[:-1])
    np.testing.assert_array_equal(scores(acc, fed, 2), np.stack(made.logits))


def test_context_full_is_said(awkward: Path, tmp_path: Path) -> None:
    acc = accelerator(awkward, PRESETS["tiny"], tmp_path / "i")
    result = acc.generate(Job(prompt=tuple(range(1, 64)), max_new_tokens=10, chunk=2))
    assert result.stopped == "context of 64 full"
    assert len(result.tokens) == 2


def assert_accurate(
    checkpoint: Path, config: AccelConfig, prompts: np.ndarray, codes: np.ndarray, folder: Path, bar: float
) -> None:
    """Rms of the logits to float64 over all prompts, as a ratio to that of the bf16 codes, inside the bar."""
    theirs = (codes.astype(np.uint32) << 16).view(np.float32)
    reference, acc = FloatReference(checkpoint), accelerator(checkpoint, config, folder / "i")
    squares = []
    for row, bf16 in zip(prompts, theirs, strict=True):
        ids = tuple(int(t) for t in row)
        exact = reference.logits(ids)
        squares.append([np.mean((x - exact) ** 2) for x in (scores(acc, ids, 2), bf16)])
        assert squares[-1][1] < 0.5 * exact.var(), "the recorded logits are of another model"
    mine, other = np.transpose(squares)
    # How far the ratio would move with other prompts: resampled from these.
    picks = np.random.default_rng(0).integers(0, len(mine), (1000, len(mine)))
    noise = np.sqrt(mine[picks].mean(axis=1) / other[picks].mean(axis=1)).std()
    ratio = np.sqrt(mine.mean() / other.mean())
    print(f"\n{checkpoint.name}, {config.name}: rms ratio to bf16 {ratio:.3f} +- {noise:.3f}")
    assert ratio <= bar


@pytest.mark.parametrize("name", sorted(BARS))
def test_accuracy_on_text(name: str, tmp_path: Path) -> None:
    """The trained model on 16 passages of 64 positions, beside transformers' own bf16 run (tests/references)."""
    with np.load(ROOT / "tests" / "references" / "shakespeare-nano-passages.npz") as file:
        prompts, codes = file["tokens"], file["logits"]
    assert_accurate(DEMO, PRESETS[name], prompts, codes, tmp_path, BARS[name])


@pytest.mark.parametrize("bits", sorted(EMBEDDING_BARS))
def test_accuracy_of_a_short_embedding(bits: int, tmp_path: Path) -> None:
    """The same passages; what the bits cost is the difference to `tiny` with its 16."""
    with np.load(ROOT / "tests" / "references" / "shakespeare-nano-passages.npz") as file:
        prompts, codes = file["tokens"], file["logits"]
    config = PRESETS["tiny"].replace(name=f"tiny-embedding-{bits}", embedding_bits=bits)
    assert_accurate(DEMO, config, prompts, codes, tmp_path, EMBEDDING_BARS[bits])


@pytest.mark.parametrize("name", sorted(BARS))
@pytest.mark.parametrize("shape", SHAPES)
def test_accuracy_on_random_weights(shape: str, name: str, tmp_path: Path) -> None:
    """Random checkpoints of other shapes, 6 sequences of 40 positions."""
    with np.load(ROOT / "tests" / "references" / "random-shapes.npz") as file:
        prompts, codes = file[f"{shape}/tokens"], file[f"{shape}/logits"]
    assert_accurate(write_shape(shape, tmp_path), PRESETS[name], prompts, codes, tmp_path, BARS[name])
