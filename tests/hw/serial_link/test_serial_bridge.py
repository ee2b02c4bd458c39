"""The board's end of the link in Verilator, at its pins; the cases are in link_bench.py."""

from __future__ import annotations

import pytest

from hw.contract.config import PRESETS
from sim.bench import run_bench
from sim.memory.top import SimulatedMemory
from tests.hw.serial_link.machine import MEMORY_BYTES, LinkMachine

CONFIGS = {"64 bit": PRESETS["tiny"], "128 bit": PRESETS["tiny"].replace(port_bits=128, rows=4)}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("seed", [0, 3])
def test_serial_bridge(name: str, seed: int) -> None:
    config = CONFIGS[name]
    run_bench(LinkMachine(config), config, "tests.hw.serial_link.link_bench", top="link_machine",
              memory=SimulatedMemory(size=MEMORY_BYTES, seed=seed))
