"""ECPIX-5 with an ECP5-85F and its DDR3 memory: 100 MHz crystal, one 16-bit chip at twice the clock of the machine."""

from __future__ import annotations

from amaranth.build import Attrs
from amaranth.lib import wiring
from amaranth_boards.ecpix5 import ECPIX585Platform
from amaranth_boards.resources import LEDResources

from boards.board import Board
from boards.memory.ddr3 import Ddr3Dram
from boards.memory.litedram_core import ddr3_core
from boards.open_ecp5 import OPEN_ECP5
from boards.uart import UartLink
from hw.contract.config import preset
from hw.watch import Synthesis

__all__ = ["ECPIX5"]

CLOCK_HZ = 50e6
BAUD = 1_000_000


class Ecpix5Platform(Synthesis, ECPIX585Platform):
    """The board's pins; the green of its first coloured LED is the LED."""

    resources = [
        *ECPIX585Platform.resources,
        *LEDResources(pins="R21", invert=True, attrs=Attrs(IO_TYPE="LVCMOS33", PULLMODE="UP")),
    ]


def _memory() -> wiring.Component:
    """512 MB. A clock this slow needs LiteDRAM's command delay: its own targets for ECP5 have it below 64 MHz."""
    return Ddr3Dram(ddr3_core(
        "MT41K256M16", device="LFE5UM5G-85F-8BG554I", clock_hz=CLOCK_HZ, input_hz=100e6, init_hz=25e6, refresh_ns=260,
        cmd_delay=100,
    ))


ECPIX5 = Board(
    name="ecpix5",
    title="ECPIX-5 85F, 512 MB DDR3",
    config=preset("ulx3s"),
    toolchain=OPEN_ECP5,
    clock_hz=CLOCK_HZ,
    platform=Ecpix5Platform,
    domains=("sync",),
    clock=None,
    memory=_memory,
    memory_bytes=512 << 20,
    memory_bytes_per_s=7.36 * CLOCK_HZ,  # simulated with controller: docs/results/measured.json
    link=lambda board: UartLink(board, baud=BAUD),
    load_bytes_per_s=BAUD / 10,
    flash=("--board", "ecpix5", "{bitstream}"),
    documents=(
        "https://docs.lambdaconcept.com/ecpix-5/",
        "https://github.com/litex-hub/litex-boards/blob/master/litex_boards/targets/lambdaconcept_ecpix5.py",
    ),
)
