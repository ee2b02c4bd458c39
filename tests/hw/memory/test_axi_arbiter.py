"""AxiArbiter in Verilator: two machines that copy memory through one port. The memory checks the protocol."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw.contract.config import AccelConfig
from sim.bench import run_bench
from sim.memory.top import SimulatedMemory
from tests.hw.memory.shared_copier import SharedCopier
from tests.sim.memory.copier import Copier

CONFIG = AccelConfig(name="narrow", stream_fifo_beats=128)
MEMORY_BYTES = 4 * 64 * 32 * CONFIG.beat_bytes
SEEDS = [0, 1, 2, 3]


def run(component: object, testcase: str, folder: Path, seed: int, machines: list[str]) -> list[int]:
    clocks = folder / "clocks"
    run_bench(component(CONFIG), CONFIG, "tests.hw.memory.axi_arbiter_bench", testcase=testcase,
              memory=SimulatedMemory(size=MEMORY_BYTES, seed=seed),
              parameters={"machines": machines, "clocks": str(clocks)})
    return [int(word) for word in clocks.read_text().split()]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_quiet_master_costs_nothing(seed: int, tmp_path: Path) -> None:
    """The first machine takes exactly as long as without an arbiter."""
    without = run(Copier, "alone", tmp_path, seed, [""])
    shared = run(SharedCopier, "alone", tmp_path, seed, ["", "other_"])
    assert shared[0] == without[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_both_get_their_turn(seed: int, tmp_path: Path) -> None:
    """The second machine waits for a few bursts at most, though the first one never rests."""
    _, longest = run(SharedCopier, "together", tmp_path, seed, ["", "other_"])
    alone = run(SharedCopier, "alone", tmp_path, seed, ["", "other_"])[0]
    print(f"\nseed {seed}: 4 chunks in {longest} clocks at most; 64 chunks alone in {alone}")
    assert longest < alone / 2
