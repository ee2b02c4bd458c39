"""ReadEngine in Verilator; the cases are in read_engine_bench.py."""

from __future__ import annotations

import pytest

from hw.contract.config import AccelConfig
from hw.memory.read_engine import ReadEngine
from sim.bench import run_bench
from tests.hw.memory.agents import CONFIGS


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.filterwarnings("default")
def test_read_engine(config: AccelConfig) -> None:
    run_bench(ReadEngine(config), config, "tests.hw.memory.read_engine_bench")
