"""Scores of the demo model against float64: the first passages of the accuracy tests, beside transformers' own bf16."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from bitnet_fpga import Score, Session
from sim.float_reference import FloatReference

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "models" / "shakespeare-nano"
PASSAGES = 4


class LogProbabilities(NamedTuple):
    """Of the tokens of all passages: in float64, by the session, and from the recorded logits of bf16."""

    exact: NDArray[np.float64]
    session: NDArray[np.float64]
    bf16: NDArray[np.float64]


@pytest.fixture(scope="module")
def found() -> LogProbabilities:
    with np.load(ROOT / "tests" / "references" / "shakespeare-nano-passages.npz") as file:
        prompts, codes = file["tokens"][:PASSAGES], file["logits"][:PASSAGES]
    recorded = (codes.astype(np.uint32) << 16).view(np.float32)
    reference, rows = FloatReference(DEMO), []
    with Session(DEMO) as session:
        for prompt, bf16 in zip(prompts, recorded, strict=True):
            ids = tuple(int(token) for token in prompt)
            exact = reference.logits(ids)
            odds = np.exp(exact - exact.max(axis=1, keepdims=True))
            chosen = np.log(odds / odds.sum(axis=1, keepdims=True))[np.arange(len(ids) - 1), ids[1:]]
            rows.append((chosen, session.score(ids).log_probabilities, Score.of(ids, bf16).log_probabilities))
    return LogProbabilities(*(np.concatenate(column) for column in zip(*rows, strict=True)))


def test_log_probabilities(found: LogProbabilities) -> None:
    """Nearer to float64 than bf16 is, as the logits are (docs/numerics.md, section 9)."""
    mine, theirs = (np.sqrt(np.mean((one - found.exact) ** 2)) for one in (found.session, found.bf16))
    print(f"\nrms distance of the log probabilities to float64: {mine:.4f}; of bf16: {theirs:.4f}")
    assert mine <= theirs


def test_perplexity(found: LogProbabilities) -> None:
    """The rms distance of a log probability is 0.05 with bf16; that of the mean of these 4 x 63 is 0.05 / sqrt(252) =
    0.0031 where they are independent, and three times that is allowed."""
    exact, mine = (float(np.exp(-one.mean())) for one in (found.exact, found.session))
    print(f"\nperplexity: {mine:.3f}; in float64: {exact:.3f}")
    assert mine == pytest.approx(exact, rel=0.01)
