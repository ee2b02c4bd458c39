"""Measures numbers for README.md by simulation: `make measured` writes docs/results/measured.json.

The numbers are statistics of `bitnet-fpga generate --stats` on simulated accelerators, values that tests pass to
pytest's `record_property`, and sizes of packed images. None depends on the speed of the computer, except that clocks on
boards with DRAM vary by a fraction of a percent with the time from the last refresh to the start of a run.
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from boards import board
from boards.results import machine
from hw.extras import as_program
from sw.__main__ import main as bitnet_fpga
from sw.checkpoint import Checkpoint
from sw.errors import JobError
from sw.installed import commit
from sw.pack import pack
from sw.whole_file import whole_file

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "docs" / "results" / "measured.json"
DEMO = "models/shakespeare-nano"
LONG_TEXT = ["--prompt", "ROMEO:", "--max-new-tokens", "48"]
RUNS = {
    "tiny": ["--backend", "sim", "--preset", "tiny", *LONG_TEXT],
    "medium": ["--backend", "sim", "--preset", "medium", *LONG_TEXT],
    "kv260": ["--backend", "sim", "--preset", "kv260", *LONG_TEXT],
    "tiny, drawn": ["--backend", "sim", "--preset", "tiny", *LONG_TEXT, "--temperature", "1", "--top-k", "1"],
    "ulx3s": ["--board", "ulx3s", "--simulate", "--context", "64", "--prompt", "ROMEO:", "--max-new-tokens", "8"],
}
"""Options of `bitnet-fpga generate models/shakespeare-nano` by the name of the run."""
TESTS = (
    "tests/boards/memory/test_ddr3_controller.py::test_moves_data_and_fast",
    "tests/boards/memory/test_sdr_chip.py::test_moves_data_by_the_rules_of_the_chip_and_fast[4]",
    "tests/boards/test_block_ram_board.py::test_runs_a_model_over_the_serial_line[demo]",
    "tests/boards/test_ddr3_board.py::test_runs_a_model_over_the_serial_line[demo]",
    "tests/hw/serial_link/test_bandwidth.py::test_bandwidth[0.001]",
    "tests/sw/links/test_exchanges.py::test_a_drawn_token_costs_six_exchanges_at_most[0.05-0.001]",
    "tests/sw/links/test_exchanges.py::test_a_drawn_token_costs_six_exchanges_at_most[0.05-0.016]",
)
"""Tests that record properties."""
CONTEXTS = {"ulx3s": 256, "ecpix5": 256, "orangecrab": 256, "ulx3s-bram": 128}
"""Positions that the demo model is packed for, by board: its own context, or what fits."""


class Properties:
    """Plugin: keeps what tests recorded."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.found[report.nodeid] = dict(report.user_properties)


def statistics(options: list[str], folder: Path) -> dict[str, Any]:
    """A run's command and what --stats wrote; the simulator's speed, which depends on the computer, is left out."""
    file = folder / "stats.json"
    command = ["generate", DEMO, *options]
    if code := bitnet_fpga([*command, "--stats", str(file)]):
        raise JobError(f"`bitnet-fpga {' '.join(command)}` ended with exit code {code}: see above")
    stats = json.loads(file.read_text())
    del stats["cycles_per_second"]
    return {"command": f"bitnet-fpga {' '.join(command)} --stats s.json", "stats": stats}


def recorded() -> dict[str, dict[str, Any]]:
    """Properties by test."""
    plugin = Properties()
    pytest.main(["-q", "-n", "0", *TESTS], plugins=[plugin])
    missing = [name for name in TESTS if not plugin.found.get(name)]
    if missing:
        raise JobError(f"{missing[0]} recorded nothing: it has failed, or was left out; see above")
    return {name: plugin.found[name] for name in TESTS}


def image_bytes(name: str, folder: Path) -> int:
    """Size of the demo model's image for a board."""
    path = folder / f"{name}.img"
    pack(Checkpoint.open(ROOT / DEMO), path, board(name).config, context=CONTEXTS[name])
    return path.stat().st_size


def main() -> int:
    """The exit code."""
    made = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": commit(), "machine": machine(),
            "python": platform.python_version(), "command": "make measured"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record = {
            "made": made,
            "runs": {name: statistics(options, folder) for name, options in RUNS.items()},
            "tests": recorded(),
            "images": {name: {"context": context, "bytes": image_bytes(name, folder)}
                       for name, context in CONTEXTS.items()},
        }
    with whole_file(RESULT) as file:
        file.write((json.dumps(record, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    with as_program():
        sys.exit(main())
