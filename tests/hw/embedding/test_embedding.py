"""Embedding rows as the packer writes them, in all three formats, against the golden twin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hw.contract.config import PRESETS, AccelConfig
from hw.embedding.embedding import EmbeddingRow
from sim.golden.embedding import embedding_row
from sim.golden.number import encode
from sim.random_checkpoint import write_random_checkpoint
from sw.checkpoint import Checkpoint
from sw.image import ModelImage
from sw.pack import pack
from tests.hw.steps import run_stream

TINY = PRESETS["tiny"]
TOKENS = [0, 7, 39, 7]


def rows_of(config: AccelConfig, folder: Path, hidden: int) -> list[np.ndarray]:
    """Table rows of a random checkpoint, one of them all zero, one with extreme bf16 values."""
    write_random_checkpoint(
        folder / "m", hidden=hidden, intermediate=64, layers=1, heads=hidden // 64, kv_heads=1, vocab=40, positions=16,
        seed=5,
    )
    pack(Checkpoint.open(folder / "m"), folder / "i", config)
    image = ModelImage.open(folder / "i", config)
    stride = image.plan.embed_stride
    table = image.view("embed").reshape(-1, stride)
    rows = [table[t].copy() for t in TOKENS]
    rows.append(np.zeros(stride, dtype=np.uint8))
    if config.embedding_bits == 16:
        extreme = np.array([0x0001, 0x8001, 0x8000, 0x7F7F, 0xFF7F, 0x0080, 0x3F80, 0xBF81], dtype="<u2")
        rows.append(np.resize(extreme.view(np.uint8), stride))
    return rows


def check(bits: int, vector: int, stall: float, folder: Path, simulator: str = "pysim") -> None:
    hidden = 192 if bits == 12 else 128
    config = TINY.replace(embedding_bits=bits, vector=vector, rows=4, inputs=10)
    rows = rows_of(config, folder, hidden)
    words = hidden // vector
    commands = [{"column": n % 2, "words": words} for n in range(len(rows))]
    beats: list[Any] = []
    expected = []
    for n, row in enumerate(rows):
        lanes = row.reshape(-1, config.beat_bytes)
        beats += [{"data": [int(b) for b in lane], "last": int(i == len(lanes) - 1)} for i, lane in enumerate(lanes)]
        codes = encode(embedding_row(config, row, hidden)).reshape(words, vector)
        expected += [(n % 2, index, [int(c) for c in word]) for index, word in enumerate(codes)]
    dut = EmbeddingRow(config)
    received, log = run_stream(dut, {"i_command": commands, "i": beats}, stall=stall, seed=bits + vector,
                               simulator=simulator)
    got = [(w["column"], w["index"], w["values"]) for w in received]
    assert got == expected
    if not stall:
        each = max(words, len(rows[0]) // config.beat_bytes)
        first, second = log["o"][:words], log["o"][words : 2 * words]
        assert first[-1] - first[0] <= each
        assert second[0] - first[0] <= each + (4 if bits == 16 else 2 + dut.LATENCY)


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("vector", [1, 2, 4])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_rows(bits: int, vector: int, stall: float, tmp_path: Path) -> None:
    check(bits, vector, stall, tmp_path)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_verilated(bits: int, tmp_path: Path) -> None:
    for stall in (0.0, 0.5):
        check(bits, 2, stall, tmp_path / str(stall), "verilator")
