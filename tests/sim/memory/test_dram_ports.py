"""A DRAM behind the pins of AXI ports: as fast as the reference says, with the right bytes, in any order of stalls."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hw.contract.config import AccelConfig
from sim.bench import BenchError, run_bench
from sim.memory.part import Part, memory_part
from sim.memory.reference import bytes_per_cycle
from sim.memory.top import SimulatedMemory
from tests.sim.memory.copier import PassThrough
from tests.sim.memory.reader import APART, PORT_BITS, Reader
from tests.sim.memory.test_axi_memory import CONFIGS, run_copier, run_protocol
from tests.sim.memory.test_dram import part_of

NARROW = CONFIGS["narrow"]
FOUR = AccelConfig(name="four", ports=4, port_bits=128, rows=16)


def run_reader(part: Part, folder: Path, config: AccelConfig = FOUR) -> list[float]:
    measured = folder / "measured.json"
    memory = SimulatedMemory(size=4 << PORT_BITS, part=part)
    run_bench(Reader(config), config, "tests.sim.memory.reader_bench", memory=memory,
              parameters={"measured": str(measured)})
    return json.loads(measured.read_text())


def test_four_ports_are_as_fast_as_the_reference(tmp_path: Path) -> None:
    """Each port; pins and reference share the model of the DRAM, but not that of the master."""
    part = part_of("ddr4-2133")
    found = run_reader(part, tmp_path)
    expected = bytes_per_cycle(part, FOUR, bases=[(port << PORT_BITS) + port * APART for port in range(4)])
    print(f"\n{found}, reference {expected}")
    assert found == pytest.approx(expected, rel=0.01)


def test_a_broken_rule_ends_the_simulation(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="a command to the DRAM breaks the rule: tREFI: refresh is overdue"):
        run_reader(part_of("ddr4-2133", rfc=1000, refi=100), tmp_path)


def test_a_part_with_fewer_ports_ends_the_simulation(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="the part has fewer ports"):
        run_reader(part_of("sdr-x16"), tmp_path)


def test_copies(tmp_path: Path) -> None:
    """Reads and writes together; with and without stalls, whatever the moment of effect."""
    found = [run_copier(NARROW, tmp_path, seed, part=memory_part("sdr-x16"))["clocks"] for seed in (0, 3)]
    assert found[0] < found[1]


@pytest.mark.filterwarnings("default")
def test_foreign_master() -> None:
    """Any address, size and length, with bursts of several ids out of order."""
    for seed in (0, 1):
        run_protocol(NARROW, "foreign_master", SimulatedMemory(size=1 << 17, seed=seed, part=memory_part("ddr4-2133")))


def test_faults() -> None:
    """What a faulty port owes does not keep room in the model's FIFO."""
    memory = SimulatedMemory(size=1 << 17, part=memory_part("ddr4-2133"))
    run_bench(PassThrough(NARROW), NARROW, "tests.sim.memory.fault_bench", memory=memory, parameters={"seed": 0})
