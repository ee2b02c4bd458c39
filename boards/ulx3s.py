"""ULX3S with an ECP5-85F and its SDRAM: 25 MHz crystal, one 16-bit SDR chip at twice the clock of the machine."""

from __future__ import annotations

from amaranth.lib import wiring
from amaranth_boards.ulx3s import ULX3S_85F_Platform

from boards.board import Board
from boards.memory.litedram import SdrDram
from boards.memory.litedram_core import sdr_core
from boards.open_ecp5 import OPEN_ECP5
from boards.pll import Clock, Ecp5Pll
from boards.uart import UartLink
from hw.contract.config import preset
from hw.watch import Synthesis

__all__ = ["ULX3S"]

CLOCK_HZ = 40e6
BAUD = 1_000_000

SDRAM_PHASE_DEGREES = 270
"""Data of a read is taken three clocks of the chip, 37.5 ns, behind the edge that sent the command, and is there from
T_AC = 5.4 ns behind the chip's next but one edge to T_OH = 2.7 ns behind the edge after it. At 270 degrees (9.4 ns)
that holds where pads and board take 0.4 to 10.2 ns both ways; tests/boards/memory/test_sdr_chip.py tries it."""


class Ulx3sPlatform(Synthesis, ULX3S_85F_Platform):
    """The board's pins."""


def _memory() -> wiring.Component:
    """32 MB. Boards with 64 MB have a chip of more columns, which works as its lower half."""
    return SdrDram(sdr_core("MT48LC16M16", device="LFE5U-85F-6BG381C", clock_hz=CLOCK_HZ))


ULX3S = Board(
    name="ulx3s",
    title="ULX3S 85F, 32 MB SDRAM",
    config=preset("ulx3s"),
    toolchain=OPEN_ECP5,
    clock_hz=CLOCK_HZ,
    platform=Ulx3sPlatform,
    domains=("sync", "sdram", "sdram_pin"),
    clock=lambda: Ecp5Pll({
        "sync": Clock(CLOCK_HZ), "sdram": Clock(2 * CLOCK_HZ), "sdram_pin": Clock(2 * CLOCK_HZ, SDRAM_PHASE_DEGREES),
    }),
    memory=_memory,
    memory_bytes=32 << 20,
    memory_bytes_per_s=3.74 * CLOCK_HZ,  # simulated with controller and pads: docs/results/measured.json
    link=lambda board: UartLink(board, baud=BAUD),
    load_bytes_per_s=BAUD / 10,
    flash=("--board", "ulx3s", "{bitstream}"),
    seed=2,  # with 1 the router does not finish: docs/decisions/0006
    documents=(
        "https://github.com/emard/ulx3s/blob/master/doc/schematics.pdf",
        "https://www.latticesemi.com/view_document?document_id=50461",
    ),
)
