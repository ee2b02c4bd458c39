"""WriteEngine in Verilator; the cases are in write_engine_bench.py."""

from __future__ import annotations

import pytest

from hw.memory.write_engine import WriteEngine
from tests.hw.memory.agents import CONFIG
from tests.hw.memory.simulate import simulate


@pytest.mark.filterwarnings("default")
def test_write_engine() -> None:
    simulate(WriteEngine(CONFIG), "tests.hw.memory.write_engine_bench")
