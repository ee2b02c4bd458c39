"""Generated controllers: every net has one driver in the Verilog, same arguments give the same text."""

from __future__ import annotations

from collections import Counter

import pytest

pytest.importorskip("litedram")

from boards.memory.litedram_core import DramError, ddr3_core, generate_core, sdr_core

DDR3 = {"device": "LFE5UM5G-85F-8BG554I", "clock_hz": 50e6, "input_hz": 100e6, "init_hz": 25e6, "refresh_ns": 260}


def test_no_assignment_is_there_twice() -> None:
    """LiteX writes those to several signals several times, which Yosys takes for several drivers."""
    core = ddr3_core("MT41K256M16", **DDR3)
    lines = Counter(line for line in core.verilog.splitlines() if line.startswith("assign "))
    assert any(line.startswith("assign {") for line in lines)
    assert set(lines.values()) == {1}
    assert (core.address_bits, core.data_bits) == (29, 128)
    assert generate_core(core.settings) == core


def test_a_chip_that_is_not_there() -> None:
    with pytest.raises(DramError, match=r"LiteDRAM cannot generate a controller .*NO_CHIP"):
        sdr_core("NO_CHIP", device="LFE5U-85F-6BG381C", clock_hz=40e6)
