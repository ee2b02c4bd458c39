"""Parameters of the PLL."""

from __future__ import annotations

import pytest

from boards.pll import Clock, PllError, pll_parameters


def test_pll() -> None:
    """Two settings that are known from elsewhere, an exact one of many, and an impossible one."""
    found = pll_parameters(25e6, {"sync": Clock(50e6), "sdram": Clock(50e6, 90)})
    assert found | {"FEEDBK_PATH": "CLKOP", "CLKI_DIV": 1, "CLKFB_DIV": 2, "CLKOP_DIV": 12, "CLKOP_CPHASE": 11,
                    "CLKOP_FPHASE": 0, "CLKOS_DIV": 12, "CLKOS_CPHASE": 14, "CLKOS_FPHASE": 0} == found
    found = pll_parameters(25e6, {"sync": Clock(100e6), "sdram": Clock(100e6, 90)})
    assert found | {"CLKFB_DIV": 4, "CLKOP_DIV": 6, "CLKOS_CPHASE": 6, "CLKOS_FPHASE": 4} == found
    found = pll_parameters(25e6, {"sync": Clock(40e6)})
    assert 25e6 / found["CLKI_DIV"] * found["CLKFB_DIV"] == 40e6
    with pytest.raises(PllError, match=r"cannot make 51\.3 MHz"):
        pll_parameters(25e6, {"sync": Clock(51.3e6)})
