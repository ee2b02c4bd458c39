"""`make split-head` on few positions and small heads: what it counts, and that every token is that of the full head."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sim.golden.logits import lm_head_logits
from sim.golden.split_head import Bounds, split_choice
from tools import split_head


def test_report(tmp_path: Path) -> None:
    record = {"demo": split_head.demo(tmp_path, 64), "full_size": split_head.full_size(600, 64),
              "made": {"command": "python", "date": "today", "machine": "this"}}
    for one in record["demo"]["deviations"].values():
        assert one["choices"] == one["same_token"] == 64
    for planes in record["full_size"].values():
        for one in planes.values():
            assert one["same_token"] == one["choices"]
            assert one["listed"]["most"] >= one["rescored"]["most"] > 0
    sizes = record["demo"]["bytes"]
    assert sizes["full"] / 2 < sizes["split"] < sizes["full"]
    text = split_head.page(record)
    assert "64 positions" in text
    assert len(text.splitlines()) > 20


def test_counts_are_those_of_the_golden_model() -> None:
    random = np.random.default_rng(5)
    rows, scales = random.integers(-127, 128, (90, 20)), np.full(90, 0.5)
    a16 = random.integers(-9000, 9000, (6, 20))
    sums = (a16 @ rows.T).astype(float) + random.integers(-9000, 9000, (6, 90))
    reach = split_head.reaches(a16.astype(float), 2)
    listed, left = split_head.counted(sums, reach, np.broadcast_to(scales, sums.shape))
    for n in range(6):
        bounds = Bounds((sums[n] - reach[n]) * scales, (sums[n] + reach[n]) * scales)
        bounds = Bounds(*(split_head.rnd(split_head.rnd(one / 0.5) * 0.5) for one in (bounds.lower, bounds.upper)))
        choice = split_choice(bounds, a16[n], 1.0, rows, scales, 90)
        assert (choice.listed, choice.rescored) == (listed[n], left[n].sum())
        best = np.where(left[n], lm_head_logits(a16[n], 1.0, rows, scales), -np.inf).argmax()
        assert choice.token in (None, best)
