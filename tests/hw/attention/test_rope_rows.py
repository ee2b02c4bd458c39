"""Rows of the packed table come back as the machine floats that the golden model reads."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from hw.attention.rope_rows import RopeRows
from hw.contract.config import PRESETS, AccelConfig
from sim.golden.number import encode
from sw.checkpoint import Checkpoint
from sw.image import ModelImage
from sw.pack import pack
from tests.hw.steps import Step, run_steps

TINY = PRESETS["tiny"]
DEMO = Path(__file__).parents[3] / "models" / "shakespeare-nano"
CONFIGS = {
    "V = 2, 64 bit": TINY,
    "V = 4, 64 bit": TINY.replace(vector=4, rows=4, inputs=10, columns=3),
    "V = 1, 512 bit": TINY.replace(vector=1, rows=16, port_bits=512, columns=4),
}


def check(config: AccelConfig, stall: float, folder: Path, simulator: str = "pysim") -> None:
    pack(Checkpoint.open(DEMO), folder, config)
    image = ModelImage.open(folder, config)
    d, stride = image.plan.shape.head_dim, image.plan.rope_stride
    table = image.view("rope").reshape(-1, stride)
    words = d // 2 // config.vector
    choose = random.Random(config.vector)
    columns = [*range(config.columns), 0]
    positions = [0, *(choose.randrange(256) for _ in columns[1:])]
    kept = dict(zip(columns, positions, strict=True))
    beats = []
    for position in positions:
        lanes = table[position].reshape(-1, config.beat_bytes).tolist()
        beats += [{"data": lane, "last": int(n == len(lanes) - 1)} for n, lane in enumerate(lanes)]
    loads = [{"column": column, "words": words} for column in columns]
    steps = [Step(send={"i_load": loads, "i": beats}), Step(set={"read.en": 1}, clocks=4 + 16 * 32 // 25)]
    expected = []
    for column, position in kept.items():
        both = encode(table[position][: 4 * d].copy().view("<f4").astype(np.float64)).reshape(2, words, -1).tolist()
        for word in range(words):
            steps += [Step(set={"read.column": column, "read.word": word}), Step(read=["read.cos", "read.sin"])]
            expected.append([both[0][word], both[1][word]])
    run = run_steps(RopeRows(config), steps, outputs=[], stall=stall, seed=5, simulator=simulator)
    assert run.read == expected


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("name", CONFIGS)
def test_rows(name: str, stall: float, tmp_path: Path) -> None:
    check(CONFIGS[name], stall, tmp_path / "image")


def test_verilated(tmp_path: Path) -> None:
    for stall in (0.0, 0.5):
        check(TINY, stall, tmp_path / str(stall), "verilator")
