"""The model of a DRAM: its checker refuses what a data sheet forbids, and its bandwidth is that of real memories."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import pytest

from hw.contract.config import PRESETS, AccelConfig
from sim.memory.page import DOCUMENT, document
from sim.memory.part import MEMORIES, Part, memory_part
from sim.memory.reference import COMMANDS, broken_rule, bytes_per_cycle, sequential_bytes_per_cycle
from sw.errors import JobError

WIDE, TINY = PRESETS["kv260"], PRESETS["tiny"]
GHZ = 0.25
"""Clock of the ports of a KV260."""

Step = tuple[str, int, int, int, int]


def part_of(name: str, **timing: int) -> Part:
    """A part, with some times in clocks changed."""
    part = memory_part(name)
    assert part
    content = copy.deepcopy(part.content)
    content["timing"] |= {name: {"clocks": clocks} for name, clocks in timing.items()}
    return Part(name, content)


def activate(clock: int, group: int = 0, bank: int = 0, row: int = 5) -> Step:
    return ("activate", clock, group, bank, row)


def precharge(clock: int, group: int = 0, bank: int = 0) -> Step:
    return ("precharge", clock, group, bank, -1)


def read(clock: int, group: int = 0, bank: int = 0, row: int = 5) -> Step:
    return ("read", clock, group, bank, row)


def write(clock: int, group: int = 0, bank: int = 0, row: int = 5) -> Step:
    return ("write", clock, group, bank, row)


def refresh(clock: int) -> Step:
    return ("refresh", clock, 0, -1, -1)


BOTH = [activate(0), activate(8, 1)]
SPACED: dict[str, tuple[Mapping[str, int], list[Step], Step]] = {
    # rule, and what it needs: times that differ from those of DDR4-2133, commands, the earliest legal last one
    "tRCD": ({}, [activate(0)], read(16)),
    "tRAS": ({}, [activate(10)], precharge(46)),
    "tRP": ({}, [activate(10), precharge(46)], activate(64)),
    "tRP, refresh": ({}, [activate(10), precharge(46)], refresh(64)),
    "tRP, all banks": ({}, [activate(10), precharge(46, bank=-1)], activate(64)),
    "tRC": ({"rc": 60}, [activate(10), precharge(46)], activate(70)),
    "tRRD_S": ({}, [activate(0)], activate(6, 1)),
    "tRRD_L": ({}, [activate(0)], activate(8, 0, 1)),
    "tFAW": ({"faw": 40}, [activate(8 * n, 0, n) for n in range(4)], activate(40, 1)),
    "tCCD_S": ({}, [*BOTH, read(24)], read(28, 1)),
    "tCCD_L": ({}, [*BOTH, read(24)], read(30)),
    "tCCD_L, writes": ({}, [*BOTH, write(24)], write(30)),
    "data of two commands at once": ({"ccd_s": 2}, [*BOTH, read(24)], read(28, 1)),
    "tWTR_L": ({}, [*BOTH, write(24)], read(50)),
    "tWTR_S": ({}, [*BOTH, write(24)], read(46, 1)),
    "turnaround of the data bus": ({}, [*BOTH, read(24)], write(36)),
    "tRTP": ({}, [activate(0), read(40)], precharge(48)),
    "tWR": ({}, [activate(0), write(40)], precharge(74)),
    "tRFC": ({}, [refresh(10)], activate(384)),
}
STATES: dict[str, tuple[list[Step], Step]] = {
    "the bank has an open row": ([activate(0)], activate(100)),
    "the bank has no open row": ([], read(100)),
    "another row is open": ([activate(0)], read(100, row=6)),
    "refresh with an open row": ([activate(0)], refresh(100)),
    "two commands in one clock": ([activate(0)], activate(0, 1)),
    "tREFI: refresh is overdue": ([], activate(9 * 8256 + 1)),
}


@pytest.mark.parametrize("rule", SPACED)
def test_a_command_that_comes_a_clock_early_is_refused(rule: str) -> None:
    timing, before, last = SPACED[rule]
    part = part_of("ddr4-2133", **timing)
    kind, clock, *rest = last
    assert not broken_rule(part, [*before, last])
    assert broken_rule(part, [*before, (kind, clock - 1, *rest)]) == rule.split(", ", maxsplit=1)[0]


@pytest.mark.parametrize("rule", STATES)
def test_a_command_in_the_wrong_state_is_refused(rule: str) -> None:
    before, last = STATES[rule]
    assert broken_rule(part_of("ddr4-2133"), [*before, last]) == rule


def test_a_row_that_was_closed_can_be_opened_and_used() -> None:
    """All kinds of command are legal somewhere, and the tables above use every kind."""
    steps = [activate(0), read(20), precharge(60), refresh(90), activate(500, row=7), write(520, row=7)]
    assert {kind for kind, *_ in steps} == set(COMMANDS)
    assert not broken_rule(part_of("ddr4-2133"), steps)


def test_every_run_checks_the_scheduler() -> None:
    """Refreshes that take longer than nine of their intervals cannot come in time."""
    with pytest.raises(RuntimeError, match="broke a rule of its part: tREFI"):
        bytes_per_cycle(part_of("ddr4-2133", rfc=1000, refi=100), WIDE)


def test_four_ports_of_a_kv260_get_what_was_measured() -> None:
    """docs/memory-model.md has the sources: 3.96 GB/s from one port, 15.0 to 15.5 from four."""
    part = part_of("ddr4-2133")
    one = sum(bytes_per_cycle(part, WIDE.replace(ports=1, rows=4))) * GHZ
    four = [rate * GHZ for rate in bytes_per_cycle(part, WIDE)]
    print(f"\none port {one:.3f} GB/s, four {sum(four):.3f} GB/s: {four}")
    assert 3.93 < one < 3.98
    assert 15.0 <= sum(four) <= 15.5


def test_equal_bases_of_the_ports_are_worse_than_staggered_ones() -> None:
    """Rows of the same banks are wanted at once. The two ports that share a gate lose most."""
    part = part_of("ddr4-2133")
    equal = bytes_per_cycle(part, WIDE, bases=[port << 26 for port in range(4)])
    print(f"\n{sum(equal) * GHZ:.3f} GB/s: {equal}")
    assert sum(equal) < 0.9 * sum(bytes_per_cycle(part, WIDE))
    assert max(equal[1:3]) < 0.8 * min(equal[0], equal[3])


@pytest.mark.parametrize("name", MEMORIES)
@pytest.mark.parametrize("config", [TINY, WIDE], ids=lambda config: config.name)
def test_sequential_reads_reach_nine_tenths(name: str, config: AccelConfig) -> None:
    """Of the peak of pins or ports. No memory gives more than that."""
    part = memory_part(name)
    if part and config.ports > part.ports:
        with pytest.raises(JobError, match=f"the memory {name} has 1 port, but the preset kv260 needs 4"):
            sequential_bytes_per_cycle(name, config)
        return
    peak = min(config.stream_bytes, part.pin_bytes_per_cycle(config.ports)) if part else config.stream_bytes
    assert 0.9 * peak <= sequential_bytes_per_cycle(name, config) <= peak


def test_rows_and_turns_cost_time() -> None:
    """Single accesses at random are slower than a sequence; without refreshes nothing is lost."""
    part = part_of("ddr4-2133")
    sequence = sum(bytes_per_cycle(part, WIDE))
    assert sum(bytes_per_cycle(part, WIDE, span=64 << 20, burst_bytes=64)) < 0.6 * sequence
    assert sequence < sum(bytes_per_cycle(part_of("ddr4-2133", refi=10**9), WIDE))


def test_gaps_cost_less_than_random_places() -> None:
    """Short bursts in order, of which some are skipped: rows are shared, and banks take turns."""
    part = part_of("ddr4-2133")
    rates = [sum(bytes_per_cycle(part, WIDE, burst_bytes=128, kept=kept)) for kept in (1.0, 0.4, 1 / 64)]
    assert rates[0] == sum(bytes_per_cycle(part, WIDE, burst_bytes=128))
    assert 0.97 * rates[0] < rates[1] < rates[0]
    assert sum(bytes_per_cycle(part, WIDE, burst_bytes=128, span=16 << 20)) < rates[2] < rates[1]


@pytest.mark.parametrize("name", MEMORIES[1:])
def test_a_part_names_its_sources(name: str) -> None:
    part = part_of(name)
    assert len(part.content["sources"]) > 1
    assert part.content["title"]


def test_refuses_a_part_that_is_incomplete() -> None:
    part = part_of("ddr4-2133")
    del part.content["timing"]["rcd"]
    with pytest.raises(RuntimeError, match="the part has no field rcd"):
        bytes_per_cycle(part, WIDE)
    with pytest.raises(RuntimeError, match="unknown field tRCD"):
        bytes_per_cycle(part_of("ddr4-2133", tRCD=1), WIDE)


def test_refuses_what_there_is_not_or_does_not_fit() -> None:
    with pytest.raises(JobError, match="there is no memory 'ddr5': use ideal, "):
        memory_part("ddr5")
    with pytest.raises(JobError, match="has ports of 64 or 128 bits, but those of the preset x have 512"):
        part_of("sdr-x16").check(AccelConfig(name="x", port_bits=512, rows=16))


def test_document_is_current() -> None:
    assert DOCUMENT.read_text() == document(), "run python -m sim.memory.page"
