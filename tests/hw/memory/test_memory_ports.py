"""MemoryPorts in Verilator; the cases are in memory_ports_bench.py."""

from __future__ import annotations

import pytest

from hw.contract.config import AccelConfig
from hw.memory.memory_ports import MemoryPorts
from sim.bench import run_bench

CONFIGS = {
    c.name: c
    for c in (
        AccelConfig(name="two ports", ports=2, rows=4, stream_fifo_beats=128, burst_beats=32, timeout_cycles=300),
        AccelConfig(name="four ports", ports=4, port_bits=128, rows=16, stream_fifo_beats=512, timeout_cycles=300),
    )
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.filterwarnings("default")
def test_memory_ports(config: AccelConfig) -> None:
    run_bench(MemoryPorts(config), config, "tests.hw.memory.memory_ports_bench")
