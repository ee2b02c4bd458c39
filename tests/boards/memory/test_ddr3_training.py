# amaranth: UnusedElaboratable=no
"""Ddr3Training finds the middle of each lane's longest window, or says that it has failed; it always ends."""

from __future__ import annotations

import dataclasses

import pytest

pytest.importorskip("litedram")

from boards.memory.ddr3_training import Ddr3Training
from boards.memory.litedram_core import ddr3_core
from boards.memory.register_player import RegisterWrite
from hw.contract.config import preset
from sim.bench import run_bench


def test_against_a_model_of_the_registers() -> None:
    core = ddr3_core("MT41K256M16", device="LFE5UM5G-85F-8BG554I", clock_hz=50e6, input_hz=100e6, init_hz=25e6,
                     refresh_ns=260)
    longest = max(write.wait_cycles for write in core.start)
    assert longest == 50_000
    short = tuple(RegisterWrite(write.address, write.data, min(write.wait_cycles, 9)) for write in core.start)
    run_bench(
        Ddr3Training(dataclasses.replace(core, start=short)), preset("ulx3s"), "tests.boards.memory.training_bench",
        parameters={"registers": core.registers, "phases": (core.read_phase, core.write_phase)})
