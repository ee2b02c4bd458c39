# amaranth: UnusedElaboratable=no
"""The ULX3S's SDRAM from the AXI port to the pins, with a chip that minds its data sheet: bytes, rules, bandwidth."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("litedram")

from boards import board
from hw.yosys import run_yosys
from sim.boards.build import MODELS
from sim.verilate import PROGRAM, verilate
from tests.boards.memory.copier_top import CopierTop

LITEDRAM_BYTES_PER_CLOCK = 3.82
"""What LiteDRAM's native port reads of the 4 bytes of the pins in a clock of the machine: 191 MB/s at 50 MHz."""


@pytest.fixture(scope="module")
def verilog(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The design as Verilator reads it."""
    folder = tmp_path_factory.mktemp("sdr")
    ulx3s = board("ulx3s")
    ulx3s.platform().build(CopierTop(ulx3s), name="top", do_build=False).extract(folder)
    run_yosys("read_rtlil top.il; write_verilog -noattr top.v", folder)
    return {name: (folder / name).read_text() for name in ("top.v", "dram_controller.v")}


@pytest.fixture(scope="module")
def simulator(verilog: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The design with the bench."""
    folder = tmp_path_factory.mktemp("obj")
    for name, text in verilog.items():
        (folder / name).write_text(text)
    for path in (*MODELS, Path(__file__).with_name("sdr_bench.sv")):
        shutil.copy(path, folder)
    sources = [*verilog, *(path.name for path in MODELS), "sdr_bench.sv"]
    verilate(folder, sources, "bench", ["--main", "--timing", "-Wno-fatal", "-Wno-lint", "-Wno-MULTIDRIVEN",
                                        "--x-initial", "fast"], folder / "build.log")
    return folder / PROGRAM


def simulate(simulator: Path, delay_ns: float) -> str:
    """What it printed; reads come so much later at the FPGA's registers than they leave the chip."""
    return subprocess.run([simulator, f"+delay={delay_ns}"], check=True, capture_output=True, text=True,
                          timeout=300).stdout


@pytest.mark.parametrize("delay_ns", [0.6, 4, 10])
def test_moves_data_by_the_rules_of_the_chip_and_fast(
    simulator: Path, delay_ns: float, record_property: Callable[[str, object], None]
) -> None:
    output = simulate(simulator, delay_ns)
    print(output)
    assert "PASS" in output
    bytes_read, clocks = map(int, re.search(r"read (\d+) bytes in (\d+) clocks", output).groups())
    record_property("bytes_per_clock", round(bytes_read / clocks, 2))
    assert bytes_read / clocks >= 0.90 * LITEDRAM_BYTES_PER_CLOCK


@pytest.mark.parametrize("delay_ns", [0.2, 10.5])
def test_data_outside_of_the_window(simulator: Path, delay_ns: float) -> None:
    """It is gone already, or not there yet: the window has the edges that boards/ulx3s.py computes."""
    assert "PASS" not in simulate(simulator, delay_ns)
