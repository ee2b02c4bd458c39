# amaranth: UnusedElaboratable=no
"""PortGuard lets the machine in when the memory works, else refuses it; MemoryTest finds the memory that does not."""

from __future__ import annotations

import pytest

from boards.memory.memory_test import MemoryTest
from boards.memory.port_guard import PortGuard
from hw.contract.config import preset
from sim.bench import run_bench


@pytest.mark.filterwarnings("default")
def test_guard_between_foreign_agents() -> None:
    run_bench(PortGuard(12, 128), preset("ulx3s"), "tests.boards.memory.guard_bench")


@pytest.mark.parametrize("address_bits, data_bits", [(29, 128), (21, 64)])
def test_memory_test(address_bits: int, data_bits: int) -> None:
    run_bench(MemoryTest(address_bits, data_bits), preset("ulx3s"), "tests.boards.memory.memory_test_bench",
              parameters={"address_bits": address_bits, "data_bits": data_bits})
