"""How much of the serial line the host and the Verilated board end use together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hw.contract.config import PRESETS
from sim.bench import run_bench
from sim.memory.top import SimulatedMemory
from tests.hw.serial_link.machine import MEMORY_BYTES, LinkMachine

CONFIG = PRESETS["tiny"]


@pytest.mark.long
@pytest.mark.parametrize("latency_s", [0.001, 0.016])
def test_bandwidth(latency_s: float, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """At least 90 % of the raw rate, both ways, also behind a USB chip that keeps answers for 16 ms."""
    found = tmp_path / "found.json"
    run_bench(LinkMachine(CONFIG), CONFIG, "tests.hw.serial_link.bandwidth_bench", top="link_machine",
              memory=SimulatedMemory(size=MEMORY_BYTES), timeout_s=480,
              parameters={"latency_s": latency_s, "found": str(found)})
    shares = json.loads(found.read_text())
    print(f"\n{latency_s} s: write {shares['write']:.3f}, read {shares['read']:.3f} of the raw rate")
    record_property("write", round(shares["write"], 4))
    record_property("read", round(shares["read"], 4))
    assert shares["write"] > 0.9
    assert shares["read"] > 0.9
