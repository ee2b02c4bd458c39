"""The simulated memory: bytes, order and errors, and how fast it is."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from hw.config import AccelConfig
from sim.bench import run_bench
from sim.memory.top import SimulatedMemory
from tests.sim.memory.copier import Copier

CONFIGS = {
    c.name: c
    for c in (
        AccelConfig(name="narrow", stream_fifo_beats=128),
        AccelConfig(name="wide", port_bits=512, rows=16, inputs=20, stream_fifo_beats=128),
    )
}
FILE_BYTES = 1 << 20
BASE = 0x8_0000_0000


def run_copier(config: AccelConfig, folder: Path, seed: int, **more: object) -> dict[str, float]:
    """Copies a file of 1 MB; returns clocks and seconds."""
    file = folder / "content.bin"
    content = random.Random(1).randbytes(FILE_BYTES)
    file.write_bytes(content)
    memory = SimulatedMemory(file=file, size=3 * FILE_BYTES, base=BASE, seed=seed)
    measured = folder / f"measured-{seed}.json"
    parameters = {"file": str(file), "base": BASE, "measured": str(measured)}
    run_bench(Copier(config), config, "tests.sim.memory.copier_bench", memory=memory, parameters=parameters, **more)
    assert file.read_bytes() == content, "the file has changed"
    return json.loads(measured.read_text())


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_copies(config: AccelConfig, tmp_path: Path) -> None:
    found = {seed: run_copier(config, tmp_path, seed) for seed in (0, 1, 2, 3)}
    for seed, run in found.items():
        print(f"\n{config.name}, seed {seed}: {run['clocks']} clocks, "
              f"{run['clocks'] / run['seconds'] / 1000:.0f} kcycles/s")
    assert len({run["clocks"] for run in found.values()}) == len(found)
    beats = FILE_BYTES // config.beat_bytes
    assert beats < found[0]["clocks"] < 1.1 * beats
