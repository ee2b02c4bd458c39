# amaranth: UnusedElaboratable=no
"""The ECPIX-5's memory from the AXI port to a model of its chip: training, test, random traffic, bandwidth."""

from __future__ import annotations

import os
import random
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("litedram")

from boards import board
from sim.bench import prepare_environment
from sim.boards.build import MODELS
from tests.boards.memory.copier_top import CopierTop
from tests.boards.memory.ddr3_model import with_model, write_banks

CONTENT_BYTES = 1 << 20
PEAK_BYTES_PER_CLOCK = 8
"""A burst of 16 bytes takes the pins two clocks."""


def test_moves_data_and_fast(tmp_path: Path) -> None:
    prepare_environment()
    ecpix5 = with_model(board("ecpix5"))
    ecpix5.platform().build(CopierTop(ecpix5), name="top", do_build=False).extract(tmp_path)
    subprocess.run([os.environ["YOSYS"], "-q", "-p", "read_rtlil top.il; write_verilog -noattr top.v"],
                   cwd=tmp_path, check=True, timeout=300)
    subprocess.run(
        ["verilator", "--binary", "--timing", "--top-module", "bench", "-O3", "-Wno-fatal", "-Wno-lint",
         "-Wno-MULTIDRIVEN", "--x-initial", "fast", "--Mdir", "obj", "top.v", "dram_controller.v",
         *map(str, MODELS), str(Path(__file__).with_name("ddr3_bench.sv"))],
        cwd=tmp_path, check=True, capture_output=True, timeout=600,
    )
    content = random.Random(5).randbytes(CONTENT_BYTES)
    expected = tmp_path / "expected.hex"
    expected.write_text("\n".join(f"{beat:016x}" for beat in np.frombuffer(content, "<u8")) + "\n")
    write_banks(content, tmp_path / "banks")
    output = subprocess.run(
        [tmp_path / "obj" / "Vbench", f"+expected={expected}", f"+image={tmp_path / 'banks'}"],
        check=True, capture_output=True, text=True, timeout=600,
    ).stdout
    print(output)
    assert "PASS" in output
    for bytes_read, clocks in re.findall(r"read (\d+) bytes in (\d+) clocks", output):
        assert int(bytes_read) / int(clocks) >= 0.90 * PEAK_BYTES_PER_CLOCK
