"""Tokens do not depend on what memories, and registers without a reset, hold at the start: Verilator fills them at
random. With SYNTHESIS defined memories have no zeros either."""

from __future__ import annotations

from pathlib import Path

import pytest

import sim.bench
from hw.contract.config import preset
from sim.links.simulated import SimulatedLink
from sim.memory.top import SimulatedMemory
from sw.driver import Driver
from tests.other_tools.test_four_state import JOB, small_model
from tests.system.test_sim_equals_golden import assert_same, golden, image_of

RANDOM = ("--x-assign", "unique", "--x-initial", "unique", "-DSYNTHESIS", "-CFLAGS", "-O0")
"""Not optimised by the C++ compiler, which would take longer than the run."""


@pytest.mark.long
@pytest.mark.timeout(1200)  # the first one builds the simulator
@pytest.mark.parametrize("seed", [1, 2])
def test_random_start(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = [flag for flag in sim.bench.BUILD_ARGS if not flag.startswith(("--x-", "fast"))]
    monkeypatch.setattr(sim.bench, "BUILD_ARGS", (*flags, *RANDOM))
    plusargs = SimulatedMemory.plusargs
    monkeypatch.setattr(SimulatedMemory, "plusargs", lambda self: [
        *plusargs(self), f"+verilator+seed+{seed}", "+verilator+rand+reset+2"])
    config = preset("tiny")
    image = image_of(small_model(tmp_path), config, tmp_path)
    link = SimulatedLink(image, memory_seed=seed)
    assert_same(Driver(link).generate(JOB), golden(config, image, JOB))
