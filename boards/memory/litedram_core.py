"""DRAM controllers from LiteDRAM: Verilog, and the register writes that initialise them. Needs the extra `board`."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boards.memory.register_player import RegisterWrite
from hw.contract.config import ConfigError
from hw.extras import EXTRAS, missing
from hw.tool import tool_status

__all__ = ["MODULE", "PACKAGES", "DramCore", "DramError", "ddr3_core", "generate_core", "sdr_core"]

MODULE = "dram_controller"
"""Name of the generated module."""

PACKAGES = ("litedram", "litex", "migen")
"""Packages whose circuits a controller contains."""

HARDWARE_CONTROL = 0x1
"""Bit of dfii_control: the controller's commands reach the chip, not those of the registers."""

GENERATE_TIMEOUT_S = 120


class DramError(ConfigError):
    """A controller cannot be generated."""


@dataclass(frozen=True)
class DramCore:
    """A controller.

    Attributes:
        verilog: a module of the name MODULE; same arguments, same text.
        address_bits, data_bits: of its AXI port `user_port_axi0`, whose words are the native ones.
        registers: byte addresses on its Wishbone port `wb_ctrl`.
        start: the writes that bring the chip up. `hand_over` follows.
        settings: what it was generated from.
        read_phase, write_phase: which of the phases of a clock has the command, where there are several.
    """

    settings: dict[str, Any]
    verilog: str
    address_bits: int
    data_bits: int
    registers: dict[str, int]
    start: tuple[RegisterWrite, ...]
    read_phase: int
    write_phase: int

    @property
    def hand_over(self) -> tuple[RegisterWrite, ...]:
        """The writes that give the controller control of the chip and open its port."""
        return (RegisterWrite(self.registers["sdram_dfii_control"], HARDWARE_CONTROL),
                RegisterWrite(self.registers["ddrctrl_init_done"], 1))


def sdr_core(chip: str, *, device: str, clock_hz: float) -> DramCore:
    """A 16-bit SDR chip at the clock of the machine (GENSDRPHY). `chip` is a class of litedram.modules.

    Raises DramError.
    """
    return generate_core({
        "device": device, "memtype": "SDR", "sdram_phy": "HalfRateGENSDRPHY", "sdram_module": chip,
        "sdram_module_nb": 2, "sys_clk_freq": clock_hz, "cmd_buffer_depth": 16,
    })


def ddr3_core(
    chip: str, *, device: str, clock_hz: float, input_hz: float, init_hz: float, refresh_ns: float, **electrical: Any,
) -> DramCore:
    """A 16-bit DDR3 chip at twice the clock of the machine (ECP5DDRPHY), which is the controller's output.

    Args:
        chip: a class of litedram.modules.
        input_hz, init_hz: the board's crystal; a slow clock, of 20 to 30 MHz, that the PLL can make beside the others.
        refresh_ns: tRFC of the chip.
        electrical: settings of LiteDRAM's generator: `cmd_delay` of clock, address and command pins in steps of 25 ps,
            `dm_swap` where the masks of the two byte lanes are swapped, `rtt_nom`, `rtt_wr`, `ron`.

    Raises DramError.
    """
    return generate_core({
        "device": device, "memtype": "DDR3", "sdram_phy": "ECP5DDRPHY", "sdram_module": chip, "sdram_module_nb": 2,
        "sys_clk_freq": clock_hz, "input_clk_freq": input_hz, "init_clk_freq": init_hz, "refresh_ns": refresh_ns,
        "cmd_buffer_depth": 16, **electrical,
    })


def generate_core(settings: dict[str, Any], generator: str = "boards.memory.litedram_generate") -> DramCore:
    """The controller that the generator, a module that is run, makes of the settings.

    Raises DramError, and ToolError if it does not end.
    """
    with tempfile.TemporaryDirectory(prefix="bitnet-fpga-", ignore_cleanup_errors=True) as place:
        given, output, log = (Path(place) / name for name in ("settings.json", "core.json", "log"))
        given.write_text(json.dumps(settings))
        code = tool_status(
            [sys.executable, "-m", generator, str(given), str(output)], Path(__file__).parents[2], log,
            timeout_s=GENERATE_TIMEOUT_S, environment={"PYTHONHASHSEED": "0"},
        )
        if code:
            last = (log.read_text(errors="replace").strip().splitlines() or ["no message"])[-1]
            absent = re.fullmatch(r"ModuleNotFoundError: No module named '(\w+).*'", last)
            if absent and absent[1] in EXTRAS:
                raise DramError(missing(absent[1]))
            raise DramError(f"LiteDRAM cannot generate a controller ({last}): check the memory settings of the board")
        fields = json.loads(output.read_text())
    return DramCore(settings=settings, **fields | {"start": tuple(RegisterWrite(*entry) for entry in fields["start"])})
