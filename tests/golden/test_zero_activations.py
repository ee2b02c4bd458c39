"""How many input codes of down_proj are 0 in the demo model, for docs/decisions/0010. 40 seconds: long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bitnet_fpga import Sampling, Session
from sim.golden.machine import GoldenMachine

ROOT = Path(__file__).parents[2]
POSITIONS, SEQUENCES, LENGTH = 1280, 8, 104
Codes = NDArray[np.int64]


def shares(zero: NDArray[np.bool_], columns: int) -> float:
    """Share of the inputs that are 0 for all of `columns` successive positions: those that none of them needs."""
    whole = len(zero) // columns * columns
    return float(zero[:whole].reshape(-1, columns, zero.shape[1]).all(axis=1).mean())


def groups(zero: NDArray[np.bool_], inputs: int) -> float:
    """Share of the groups of successive inputs that are all 0."""
    whole = zero.shape[1] // inputs * inputs
    return float(zero[:, :whole].reshape(len(zero), -1, inputs).all(axis=2).mean())


@pytest.mark.long
def test_share_of_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every layer: codes, exact zeros of relu^2, and what columns that share a pass have in common."""
    codes, exact = list[Codes](), list[NDArray[np.bool_]]()
    original = GoldenMachine.matmul

    def matmul(self: GoldenMachine, header: dict[str, int], payload: Any) -> None:
        if header["in_features"] == self.plan.shape.intermediate:
            codes.append(self.act)
            exact.append(self.work[:, : header["in_features"]] == 0)
        original(self, header, payload)

    monkeypatch.setattr(GoldenMachine, "matmul", matmul)
    with Session(ROOT / "models" / "shakespeare-nano", preset="kv260", sequences=SEQUENCES) as session:
        text = session.text.encode((ROOT / "tests" / "references" / "passages.txt").read_text())[:POSITIONS]
        for start in range(0, len(text), 160):
            session.score(text[start : start + 160])
        read = len(codes)
        jobs = [session.job("ROMEO:", max_new_tokens=LENGTH, sampling=Sampling(temperature=1.0, seed=seed))
                for seed in range(SEQUENCES)]
        list(session.batch(jobs))
        layers = session._driver.shape.layers
    print("\nlayer: positions; codes 0, exactly 0; 0 in all of 4, of 8 columns: prompt, batch; groups of 5, of 20")
    for layer in range(layers):
        prompt, batch = (np.concatenate(part[layer::layers]) == 0 for part in (codes[:read], codes[read:]))
        zeros = np.concatenate([prompt, batch])
        print(f"{layer}: {len(zeros)}; {zeros.mean():.3f}, {np.concatenate(exact[layer::layers]).mean():.3f}; "
              f"{shares(prompt, 4):.3f}, {shares(prompt, 8):.3f}; {shares(batch, 4):.3f}, {shares(batch, 8):.3f}; "
              f"{groups(zeros, 5):.3f}, {groups(zeros, 20):.3f}")
        assert len(zeros) >= 2000
        assert 0.7 < zeros.mean() < 0.9
