"""ReadEngine in Verilator; the cases are in read_engine_bench.py."""

from __future__ import annotations

import pytest

from hw.memory.read_engine import ReadEngine
from tests.hw.memory.agents import CONFIG
from tests.hw.memory.simulate import simulate


@pytest.mark.filterwarnings("default")
def test_read_engine() -> None:
    simulate(ReadEngine(CONFIG), "tests.hw.memory.read_engine_bench")
