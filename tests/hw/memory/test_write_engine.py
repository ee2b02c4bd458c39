"""WriteEngine in Verilator; the cases are in write_engine_bench.py."""

from __future__ import annotations

import pytest

from hw.contract.config import AccelConfig
from hw.memory.write_engine import WriteEngine
from sim.bench import run_bench
from tests.hw.memory.agents import CONFIGS


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.filterwarnings("default")
def test_write_engine(config: AccelConfig) -> None:
    run_bench(WriteEngine(config), config, "tests.hw.memory.write_engine_bench")
