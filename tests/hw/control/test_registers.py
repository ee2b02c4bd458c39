"""RegisterFile in Verilator; the cases are in registers_bench.py."""

from __future__ import annotations

import pytest

from hw.contract.config import AccelConfig, preset
from hw.control.registers import RegisterFile
from sim.bench import run_bench


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("config", [preset("tiny"), preset("tiny").replace(name="split", candidates=64)],
                         ids=lambda config: config.name)
def test_registers(config: AccelConfig) -> None:
    run_bench(RegisterFile(config), config, "tests.hw.control.registers_bench")
