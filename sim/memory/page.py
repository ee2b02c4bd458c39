"""`python -m sim.memory.page` writes the tables of docs/memory-model.md: the parts, and what the reference measures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from hw.contract.config import PRESETS, STRIPE_BYTES, AccelConfig
from hw.contract.tables import with_table
from sim.memory.part import IDEAL, MEMORIES, Part, memory_part
from sim.memory.reference import bytes_per_cycle

__all__ = ["DOCUMENT", "SWEEP", "document"]

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "memory-model.md"
MEASURED = DOCUMENT.with_name("results") / "measured.json"
PROGRAM = "python -m sim.memory.page"

PRESET_OF = {"sdr-x16": "ulx3s", "ddr3-x16": "ulx3s"}
"""The preset of the boards that have the part; of others `kv260`."""

SPAN = 16 << 20
"""Bytes within which random bursts lie."""

SWEEP = {
    (0, 0, 0, 0): (3.831, 3.023, 3.011, 3.785),
    (0, 0, 0, 24): (3.947, 3.598, 3.587, 3.898),
    (0, 0, 48, 24): (3.954, 3.769, 3.755, 3.913),
    (0, 8, 16, 24): (3.950, 3.552, 3.543, 3.910),
    (0, 16, 16, 8): (3.758, 2.884, 2.876, 3.717),
    (0, 16, 32, 48): (3.948, 3.617, 3.606, 3.910),
    (0, 24, 40, 56): (3.966, 3.800, 3.787, 3.915),
    (0, 32, 0, 32): (3.962, 3.695, 3.682, 3.906),
    (0, 32, 24, 24): (3.742, 2.817, 2.809, 3.696),
}
"""GB/s of each port of a KV260 by the offsets of the ports' data in KiB, modulo 64 KiB: results/sweep-2026-09-26.txt of
https://github.com/MerlijnW70/bitnet-kv260. A line of each kind: equal, staggered by 16 KiB, the best, the worst."""

APART = 64 << 20
CONTROLLERS = {  # part: the test that measures its controller, in measured.json
    "sdr-x16": "tests/boards/memory/test_sdr_chip.py::test_moves_data_by_the_rules_of_the_chip_and_fast[4]",
    "ddr3-x16": "tests/boards/memory/test_ddr3_controller.py::test_moves_data_and_fast",
}


def _parts() -> list[tuple[Part, AccelConfig]]:
    """Each with the preset that its table is for."""
    found = [(memory_part(name), PRESETS[PRESET_OF.get(name, "kv260")]) for name in MEMORIES if name != IDEAL]
    return [(part, config) for part, config in found if part]


def _table(*rows: list[str]) -> str:
    head, *rest = (f"| {' | '.join(row)} |\n" for row in rows)
    return head + "|" + " --- |" * len(rows[0]) + "\n" + "".join(rest)


def parts_table() -> str:
    """What there is, and where its numbers come from."""
    return _table(["name", "memory", "sources", "estimated"], *(
        [f"`{part.name}`", part.content["title"], "<br>".join(part.content["sources"]),
         "<br>".join(part.content["estimated"])] for part, _ in _parts()))


def bandwidth_table() -> str:
    """What the reference measures, in bytes per clock of the ports."""
    rows = []
    for part, config in _parts():
        peak = min(config.stream_bytes, part.pin_bytes_per_cycle(config.ports))
        close = [port * STRIPE_BYTES for port in range(config.ports)]
        reads = [sum(bytes_per_cycle(part, config)), sum(bytes_per_cycle(part, config, bases=close)),
                 *(sum(bytes_per_cycle(part, config, span=SPAN, burst_bytes=size)) for size in (1024, 256, 64))]
        writes = sum(bytes_per_cycle(part, config, burst_bytes=256, writes=True))
        rows.append([f"`{part.name}`", f"`{config.name}`", f"{part.pin_bytes_per_cycle(config.ports):.2f}",
                     str(config.stream_bytes), *(f"{rate:.2f}" for rate in reads), f"{writes:.2f}",
                     f"{reads[0] / peak:.3f}", f"{reads[0] * part.port_mhz / 1000:.2f} GB/s"])
    return _table(["part", "preset", "pins", "ports", "sequential", "close", "random 1024", "random 256", "random 64",
                   "writes", "share", "sequential"], *rows)


def sweep_table() -> str:
    """Model and board, port by port."""
    part, config = memory_part("ddr4-2133"), PRESETS["kv260"]
    assert part
    rows = []
    for offsets, measured in SWEEP.items():
        bases = [port * APART + 1024 * offset for port, offset in enumerate(offsets)]
        found = [rate * part.port_mhz / 1000 for rate in bytes_per_cycle(part, config, bases=bases)]
        rows.append([", ".join(map(str, offsets)), *(text for rates in (found, measured) for text in (
            ", ".join(f"{rate:.2f}" for rate in rates), f"{sum(rates):.2f}", f"{4 * min(rates):.2f}"))])
    return _table(["offsets, KiB", "model: ports", "sum", "4 x slowest", "board: ports", "sum", "4 x slowest"], *rows)


AT_ONCE = {name: {"clocks": 1} for name in ("rcd", "rp", "ras", "rc")}
CHANGES: dict[str, tuple[str, Mapping[str, object]]] = {
    "as it is": ("port", {}),
    "no refresh": ("timing", {"refi": {"clocks": 10**9}}),
    "rows open and close in a clock": ("timing", AT_ONCE),
    "no tFAW": ("timing", {"faw": {"clocks": 0}}),
    "read queue of 24 entries": ("controller", {"read_queue": 24}),
    "read queue of 64 entries": ("controller", {"read_queue": 64}),
    "a gate for each port": ("port", {"gates": [0, 1, 2, 3]}),
    "latency of the ports 100 ns (145 ns)": ("port", {"request_ns": 48.0, "path_ns": 24.0, "response_ns": 28.0}),
    "latency of the ports 190 ns (145 ns)": ("port", {"request_ns": 92.0, "path_ns": 46.0, "response_ns": 52.0}),
}


def changes_table() -> str:
    """What parameters do to the reads of four ports."""
    part, config = memory_part("ddr4-2133"), PRESETS["kv260"]
    assert part
    rows = []
    for change, (section, values) in CHANGES.items():
        other = Part(part.name, part.content | {section: {**part.content[section], **values}})
        rates = [sum(bytes_per_cycle(other, config, bases=bases)) * part.port_mhz / 1000
                 for bases in (None, [port * APART for port in range(config.ports)])]
        rows.append([change, *(f"{rate:.2f}" for rate in rates)])
    return _table(["`ddr4-2133`", "staggered by 16 KiB: GB/s", "equal offsets: GB/s"], *rows)


def controller_table() -> str:
    """Model and simulated controller."""
    measured = json.loads(MEASURED.read_text())["tests"]
    rows = []
    for part, config in _parts():
        if part.name in CONTROLLERS:
            model = sum(bytes_per_cycle(part, config))
            other = measured[CONTROLLERS[part.name]]["bytes_per_clock"]
            rows.append([f"`{part.name}`", f"{part.pin_bytes_per_cycle(1):g}", f"{model:.2f}", f"{other:.2f}",
                         f"{model / other - 1:+.1%}"])
    return _table(["part", "peak", "model", "LiteDRAM, simulated", "difference"], *rows)


def document() -> str:
    """The page with its tables."""
    page = DOCUMENT.read_text()
    for name, table in (("parts", parts_table), ("bandwidth", bandwidth_table), ("sweep", sweep_table),
                        ("changes", changes_table), ("controllers", controller_table)):
        page = with_table(page, f"{PROGRAM}: {name}", table())
    return page


if __name__ == "__main__":
    DOCUMENT.write_text(document())
