"""Generates a DRAM controller with LiteDRAM: `python -m boards.memory.litedram_generate SETTINGS OUTPUT`, both JSON.

A process of its own, because LiteX changes the standard streams of the one that imports it and numbers its names from
the first design on. This file is the only one that imports it. LiteDRAM, LiteX and Migen are BSD-2-Clause; what they
generate becomes part of a bitstream and never of this repository.
"""

from __future__ import annotations

import copy
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from litedram import gen, modules, phy
from litedram.init import get_sdram_phy_init_sequence
from litex.build.generic_platform import Pins
from litex.build.io import SDRTristate
from litex.build.lattice import LatticePlatform
from litex.build.lattice.common import lattice_ecp5_trellis_special_overrides
from litex.soc.integration.export import get_csr_csv
from migen import ClockDomain, Instance, Module, Signal
from migen.genlib.resetsync import AsyncResetSynchronizer

MODULE = "dram_controller"
"""Name of the generated module."""

DFII = {
    "DFII_CONTROL_SEL": 1, "DFII_CONTROL_CKE": 2, "DFII_CONTROL_ODT": 4, "DFII_CONTROL_RESET_N": 8,
    "DFII_COMMAND_CS": 1, "DFII_COMMAND_WE": 2, "DFII_COMMAND_CAS": 4, "DFII_COMMAND_RAS": 8,
}
"""Bits of LiteDRAM's registers `dfii_control` and `dfii_pi0_command`."""


class _Pad(Module):
    """A data pin of an SDR chip: data in, data out and output enable each have their register in the pin's I/O cell.

    LiteX inverts the output enable behind its register, so that all pins share one register in the fabric, whose way to
    the pads takes 2.6 to 5.4 ns. Inverted before, every pin keeps one of its own.
    """

    def __init__(self, pin, o, oe, i, clock) -> None:
        to_pad, disable, from_pad = Signal(), Signal(), Signal()
        register = {"i_SCLK": clock, "i_SP": 1, "i_PD": 0}
        self.specials += [
            Instance("OFS1P3BX", i_D=o, o_Q=to_pad, **register),
            Instance("OFS1P3BX", i_D=~oe, o_Q=disable, **register),
            Instance("IFS1P3BX", i_D=from_pad, o_Q=i, **register),
            Instance("TRELLIS_IO", p_DIR="BIDIR", io_B=pin, i_I=to_pad, i_T=disable, o_O=from_pad),
        ]


class _RegisteredTristate:
    """Takes the place of `SDRTristate` in LiteX's table."""

    @staticmethod
    def lower(special) -> Module:
        return _Pad(special.io, special.o, special.oe, special.i, special.clk)


def _start(registers: dict[str, int], sequence: Sequence[tuple[str, int, int, str, int]]) -> Iterator[list[int]]:
    """LiteDRAM's sequence of (comment, address, bank, command, wait) as (register, value, wait)."""
    first = DFII["DFII_CONTROL_CKE"] | DFII["DFII_CONTROL_ODT"] | DFII["DFII_CONTROL_RESET_N"]
    yield [registers["sdram_dfii_control"], first, 0]  # from here on the register writes lead, not the controller
    for _, address, bank, command, wait_cycles in sequence:
        value = sum(DFII[name] for name in command.split("|"))
        yield [registers["sdram_dfii_pi0_address"], address, 0]
        yield [registers["sdram_dfii_pi0_baddress"], bank, 0]
        if command.startswith("DFII_CONTROL"):
            yield [registers["sdram_dfii_control"], value, wait_cycles]
        else:
            yield [registers["sdram_dfii_pi0_command"], value, 0]
            yield [registers["sdram_dfii_pi0_command_issue"], 1, wait_cycles]


def chip_of(name: str, refresh_ns: float | None) -> type:
    """A class of `litedram.modules`, with tRFC in ns.

    LiteDRAM gives a DDR3 chip's tRFC as the number of clocks at its highest speed and waits for as many at any clock.
    """
    chip = getattr(modules, name)
    if refresh_ns is None:
        return chip
    timings = copy.copy(chip.speedgrade_timings["default"])
    timings.tRFC = (None, refresh_ns)
    return type(name, (chip,), {"speedgrade_timings": {"default": timings}})


def _once(verilog: str) -> str:
    """Every assignment once.

    LiteX writes one whose left side is several signals once for each of them, which makes as many drivers of the same
    net; no tool can tell them from a mistake.
    """
    lines, seen = [], set()
    for line in verilog.split("\n"):
        if line not in seen:
            lines.append(line)
        if line.startswith("assign "):
            seen.add(line)
    return "\n".join(lines)


class _HalfRateClocks(Module):
    """Clocks of a controller at half the clock of its chip: `clk`; `clk2x`, every other of whose edges is one of it.

    Takes the place of the clocks of LiteDRAM's generator, which knows SDR chips at the clock of the controller only.
    """

    def __init__(self, platform, _: Any) -> None:
        self.clock_domains.cd_sys = ClockDomain()
        self.clock_domains.cd_sys2x = ClockDomain(reset_less=True)
        platform.add_extension([("clk2x", 0, Pins(1))])
        self.comb += [self.cd_sys.clk.eq(platform.request("clk")), self.cd_sys2x.clk.eq(platform.request("clk2x"))]
        self.specials += AsyncResetSynchronizer(self.cd_sys, platform.request("rst"))


def _at_half_rate(chip: Any) -> type:
    """A class of `litedram.modules` for such a controller, where the generator asks for one at its clock."""
    def make(self, clk_freq: float, rate: str) -> None:
        chip.__init__(self, clk_freq, rate="1:2")

    return type(chip.__name__, (chip,), {"__init__": make})


def generate(settings: dict[str, Any]) -> dict[str, Any]:
    """The fields of `DramCore` from the settings of LiteDRAM's generator, classes by name, and `refresh_ns`, tRFC."""
    chip = chip_of(settings["sdram_module"], settings.get("refresh_ns"))
    if settings["memtype"] == "SDR":
        gen.litedram_phys.GENSDRPHY, gen.LiteDRAMGENSDRPHYCRG = phy.HalfRateGENSDRPHY, _HalfRateClocks
        chip = _at_half_rate(chip)
    config = settings | {
        "cpu": None, "sdram_module": chip,
        "sdram_phy": getattr(phy, settings["sdram_phy"]), "sdram_rank_nb": 1,
        "user_ports": {"axi0": {"type": "axi", "id_width": 1}},
    }
    platform = LatticePlatform(settings["device"], io=[], toolchain="trellis")
    soc = gen.LiteDRAMCore(platform, config)
    soc.finalize()
    overrides = lattice_ecp5_trellis_special_overrides | {SDRTristate: _RegisteredTristate}
    text = platform.get_verilog(soc, name=MODULE, special_overrides=overrides, regular_comb=False).main_source
    return fields_of(soc, text)


def fields_of(soc: gen.LiteDRAMCore, text: str) -> dict[str, Any]:
    """The fields of `DramCore` of a finished controller and its Verilog."""
    csr = get_csr_csv(csr_regions=soc.csr_regions)
    registers = {name: int(address, 16) for name, address in re.findall(r"^csr_register,(\w+),(\w+),", csr, re.M)}
    controller = soc.sdram.controller.settings
    sequence, _ = get_sdram_phy_init_sequence(controller.phy, controller.timing)
    widths = {pin: int(high) + 1 for high, pin in re.findall(r"\[(\d+):0\] user_port_axi0_(araddr|rdata)\b", text)}
    return {
        # Comments hold the date and a tree whose order changes.
        "verilog": _once(re.sub(r"\s*\n", "\n", re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.S)).lstrip()),
        "address_bits": widths["araddr"],
        "data_bits": widths["rdata"],
        "registers": registers,
        "start": list(_start(registers, sequence)),
        "read_phase": controller.phy.rdphase,
        "write_phase": controller.phy.wrphase,
    }


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(generate(json.loads(Path(sys.argv[1]).read_text()))))
