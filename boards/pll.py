"""Clock domains from the PLL of an ECP5. Parameters as in Lattice FPGA-TN-02200, "sysCLOCK PLL/DLL Design"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from amaranth.hdl import ClockSignal, Instance, Module, Signal
from amaranth.lib import io, wiring
from amaranth.lib.cdc import ResetSynchronizer

from hw.contract.config import ConfigError

__all__ = ["Clock", "Ecp5Pll", "PllError", "pll_parameters"]

VCO_HZ = (400e6, 800e6)
OUTPUTS = ("CLKOP", "CLKOS", "CLKOS2", "CLKOS3")


class PllError(ConfigError):
    """The PLL cannot generate the requested frequencies."""


class Clock(NamedTuple):
    """An output of the PLL: frequency, and phase behind the first output."""

    hz: float
    phase_degrees: float = 0


def pll_parameters(input_hz: float, clocks: Mapping[str, Clock]) -> dict[str, int | str]:
    """Parameters of EHXPLLL that are exact in frequency and phase; the VCO as near to 600 MHz as there are any.

    The first clock closes the loop. A phase is a number of eighths of a VCO clock. Raises PllError.
    """
    first = next(iter(clocks.values()))
    found: list[tuple[float, dict[str, int | str]]] = []
    for input_divider in range(1, 9):
        feedback = first.hz * input_divider / input_hz
        for divider in range(1, 129):
            vco = first.hz * divider
            if feedback % 1 or not 1 <= feedback <= 80 or not VCO_HZ[0] <= vco <= VCO_HZ[1]:
                continue
            parameters: dict[str, int | str] = {
                "CLKI_DIV": input_divider, "CLKFB_DIV": int(feedback), "FEEDBK_PATH": "CLKOP"}
            for name, clock in zip(OUTPUTS, clocks.values(), strict=False):
                output_divider = vco / clock.hz
                eighths = output_divider * 8 * clock.phase_degrees / 360
                if output_divider % 1 or eighths % 1:
                    break
                parameters |= {
                    f"{name}_ENABLE": "ENABLED", f"{name}_DIV": int(output_divider),
                    f"{name}_CPHASE": int(output_divider - 1 + eighths // 8), f"{name}_FPHASE": int(eighths % 8),
                }
            else:
                found.append((abs(vco - 600e6) + input_divider, parameters))
    if not found:
        wanted = ", ".join(f"{clock.hz / 1e6:g} MHz at {clock.phase_degrees:g} degrees" for clock in clocks.values())
        raise PllError(f"the PLL cannot make {wanted} from {input_hz / 1e6:g} MHz exactly: choose other frequencies")
    return min(found, key=lambda entry: entry[0])[1]


class Ecp5Pll(wiring.Component):
    """Drives clock domains, which the parent defines, from the board's crystal.

    A domain's reset ends, synchronously, when the PLL has locked.

    Parameters: clock domains by name, the first of them the one that closes the loop; at most four.
    """

    def __init__(self, clocks: Mapping[str, Clock]) -> None:
        self.clocks = dict(clocks)
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pin = platform.request(platform.default_clk, dir="-")
        m.submodules.pin = buffer = io.Buffer("i", pin)
        parameters = pll_parameters(platform.default_clk_frequency, self.clocks)
        locked, feedback = Signal(), Signal()
        outputs = {}
        for name, domain in zip(OUTPUTS, self.clocks, strict=False):
            outputs[f"o_{name}"] = ClockSignal(domain) if name != "CLKOP" else feedback
            if name == "CLKOP":
                m.d.comb += ClockSignal(domain).eq(feedback)
            m.submodules[f"reset_{domain}"] = ResetSynchronizer(~locked, domain=domain)
        m.submodules.pll = Instance(
            "EHXPLLL", **{f"p_{name}": value for name, value in parameters.items()},
            p_OUTDIVIDER_MUXA="DIVA", p_OUTDIVIDER_MUXB="DIVB", p_OUTDIVIDER_MUXC="DIVC", p_OUTDIVIDER_MUXD="DIVD",
            a_ICP_CURRENT="12", a_LPF_RESISTOR="8", a_MFG_ENABLE_FILTEROPAMP="1", a_MFG_GMCREF_SEL="2",
            i_CLKI=buffer.i, i_CLKFB=feedback, i_RST=0, i_STDBY=0, i_PHASESEL0=0, i_PHASESEL1=0, i_PHASEDIR=1,
            i_PHASESTEP=1, i_PHASELOADREG=1, i_PLLWAKESYNC=0, i_ENCLKOP=0, i_ENCLKOS=0, i_ENCLKOS2=0, i_ENCLKOS3=0,
            o_LOCK=locked, **outputs,
        )
        return m
