"""RegisterFile in Verilator; the cases are in registers_bench.py."""

from __future__ import annotations

import pytest

from hw.contract.config import preset
from hw.control.registers import RegisterFile
from sim.bench import run_bench


@pytest.mark.filterwarnings("default")
def test_registers() -> None:
    config = preset("tiny")
    run_bench(RegisterFile(config), config, "tests.hw.control.registers_bench")
