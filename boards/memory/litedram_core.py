"""DRAM controllers by LiteDRAM, as Verilog and the list of writes that starts them. Needs the extra `board`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boards.memory.init_player import InitWrite
from hw.config import ConfigError

__all__ = ["MODULE", "DramCore", "DramError", "sdr_core"]

MODULE = "dram_controller"
"""Name of the generated module."""

GENERATE_TIMEOUT_S = 120


class DramError(ConfigError):
    """A controller that cannot be generated, in one sentence."""


@dataclass(frozen=True)
class DramCore:
    """A controller.

    Attributes:
        verilog: a module of the name MODULE; same arguments, same text.
        address_bits, data_bits: of its AXI port `user_port_axi0`, whose words are the native ones.
        registers: byte addresses on its Wishbone port `wb_ctrl`.
        start: the writes that bring the chip up. Behind them the controller itself can be put in charge.
    """

    verilog: str
    address_bits: int
    data_bits: int
    registers: dict[str, int]
    start: tuple[InitWrite, ...]


def sdr_core(chip: str, *, device: str, clock_hz: float) -> DramCore:
    """A 16-bit SDR chip at the clock of the machine (GENSDRPHY). `chip` is a class of litedram.modules.

    Raises DramError.
    """
    return _generate({
        "device": device, "memtype": "SDR", "sdram_phy": "GENSDRPHY", "sdram_module": chip, "sdram_module_nb": 2,
        "sys_clk_freq": clock_hz, "cmd_buffer_depth": 16,
    })


def _generate(settings: dict[str, Any]) -> DramCore:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "core.json"
        try:
            done = subprocess.run(
                [sys.executable, "-m", "boards.memory.litedram_generate", str(output)], input=json.dumps(settings),
                capture_output=True, text=True, timeout=GENERATE_TIMEOUT_S, check=False,
                cwd=Path(__file__).parents[2], env=os.environ | {"PYTHONHASHSEED": "0"},
            )
        except subprocess.TimeoutExpired as error:
            raise DramError(f"LiteDRAM did not end within {GENERATE_TIMEOUT_S} s") from error
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            hint = ": pip install -e '.[board]'" if "ModuleNotFoundError" in last else ""
            raise DramError(f"LiteDRAM cannot generate a controller ({last}){hint}")
        fields = json.loads(output.read_text())
    return DramCore(**fields | {"start": tuple(InitWrite(*entry) for entry in fields["start"])})
