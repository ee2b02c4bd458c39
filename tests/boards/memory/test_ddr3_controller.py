# amaranth: UnusedElaboratable=no
"""The ECPIX-5's memory from the AXI port to a model of its chip: training, test, random traffic, bandwidth."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("litedram")

from boards import board
from hw.yosys import run_yosys
from sim.boards.build import MODELS
from sim.verilate import PROGRAM, verilate
from tests.boards.memory.copier_top import CopierTop
from tests.boards.memory.ddr3_model import with_model, write_banks

CONTENT_BYTES = 1 << 20
PEAK_BYTES_PER_CLOCK = 8
"""A burst of 16 bytes takes the pins two clocks."""


@pytest.mark.long
def test_moves_data_and_fast(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    ecpix5 = with_model(board("ecpix5"))
    ecpix5.platform().build(CopierTop(ecpix5), name="top", do_build=False).extract(tmp_path)
    run_yosys("read_rtlil top.il; write_verilog -noattr top.v", tmp_path)
    for path in (*MODELS, Path(__file__).with_name("ddr3_bench.sv")):
        shutil.copy(path, tmp_path)
    sources = ["top.v", "dram_controller.v", *(path.name for path in MODELS), "ddr3_bench.sv"]
    verilate(tmp_path, sources, "bench", ["--main", "--timing", "-O3", "-Wno-fatal", "-Wno-lint", "-Wno-MULTIDRIVEN",
                                          "--x-initial", "fast"], tmp_path / "build.log")
    content = random.Random(5).randbytes(CONTENT_BYTES)
    expected = tmp_path / "expected.hex"
    expected.write_text("\n".join(f"{beat:016x}" for beat in np.frombuffer(content, "<u8")) + "\n")
    write_banks(content, tmp_path / "banks")
    output = subprocess.run(
        [tmp_path / PROGRAM, f"+expected={expected}", f"+image={tmp_path / 'banks'}"],
        check=True, capture_output=True, text=True, timeout=600,
    ).stdout
    print(output)
    assert "PASS" in output
    (ready,) = re.findall(r"ready after (\d+) clocks", output)
    record_property("clocks_to_ready", int(ready))
    rates = [int(size) / int(clocks) for size, clocks in re.findall(r"read (\d+) bytes in (\d+) clocks", output)]
    record_property("bytes_per_clock", round(min(rates), 2))
    assert min(rates) >= 0.90 * PEAK_BYTES_PER_CLOCK
