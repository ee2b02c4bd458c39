"""The scratchpad is marked for UltraRAM in Verilog for an FPGA that has it, and nowhere else."""

from __future__ import annotations

import pytest

from hw.contract.config import PRESETS
from hw.memory.scratchpad import Scratchpad
from hw.verilog import generate_verilog


@pytest.mark.parametrize(("ultra_ram", "marks"), [(False, 0), (True, 1)])
def test_mark(ultra_ram: bool, marks: int) -> None:
    text = generate_verilog(Scratchpad(PRESETS["ulx3s"]), "unit", ultra_ram=ultra_ram).text
    assert text.count('(* ram_style = "ultra" *)') == marks
