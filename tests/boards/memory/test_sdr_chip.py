# amaranth: UnusedElaboratable=no
"""The ULX3S's SDRAM from the AXI port to the pins, with a chip that minds its data sheet: bytes, rules, bandwidth."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("litedram")

from boards import board
from sim.bench import prepare_environment
from sim.boards.build import MODELS
from tests.boards.memory.copier_top import CopierTop

LITEDRAM_BYTES_PER_CLOCK = 1.94
"""What LiteDRAM's native port reads of the 2 bytes of the pins: 97 MB/s at 50 MHz."""


def simulate(folder: Path, verilog: dict[str, str]) -> str:
    """Compile with the bench and run; what it printed."""
    for name, text in verilog.items():
        (folder / name).write_text(text)
    sources = [*verilog, *map(str, MODELS), str(Path(__file__).with_name("sdr_bench.sv"))]
    subprocess.run(
        ["verilator", "--binary", "--timing", "--top-module", "bench", "-Wno-fatal", "-Wno-lint", "-Wno-MULTIDRIVEN",
         "--x-initial", "fast", "--Mdir", "obj", *sources],
        cwd=folder, check=True, capture_output=True, timeout=600,
    )
    return subprocess.run([folder / "obj" / "Vbench"], check=True, capture_output=True, text=True, timeout=300).stdout


@pytest.fixture(scope="module")
def verilog(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The design as Verilator reads it."""
    prepare_environment()
    folder = tmp_path_factory.mktemp("sdr")
    ulx3s = board("ulx3s")
    ulx3s.platform().build(CopierTop(ulx3s), name="top", do_build=False).extract(folder)
    subprocess.run([os.environ["YOSYS"], "-q", "-p", "read_rtlil top.il; write_verilog -noattr top.v"],
                   cwd=folder, check=True, timeout=300)
    return {name: (folder / name).read_text() for name in ("top.v", "dram_controller.v")}


def test_moves_data_by_the_rules_of_the_chip_and_fast(verilog: dict[str, str], tmp_path: Path) -> None:
    output = simulate(tmp_path, verilog)
    print(output)
    assert "PASS" in output
    bytes_read, clocks = map(int, re.search(r"read (\d+) bytes in (\d+) clocks", output).groups())
    assert bytes_read / clocks >= 0.90 * LITEDRAM_BYTES_PER_CLOCK
