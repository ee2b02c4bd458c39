"""ULX3S with an ECP5-85F, without its SDRAM: the demo model is in block RAM."""

from __future__ import annotations

from boards.board import Board
from boards.memory.block_ram import BlockRam, block_ram_bytes
from boards.open_ecp5 import OPEN_ECP5
from boards.pll import Clock, Ecp5Pll
from boards.uart import UartLink
from boards.ulx3s import BAUD, ULX3S, Ulx3sPlatform
from hw.contract.config import preset

__all__ = ["ULX3S_BRAM"]

CONFIG = preset("ulx3s-bram")
CLOCK_HZ = 40e6
BANKS, DEPTH = 24, 2048
"""192 of the 208 DP16KD."""

LEFT = 16
"""DP16KD that are left."""

ULX3S_BRAM = Board(
    name="ulx3s-bram",
    title="ULX3S 85F, block RAM alone",
    config=CONFIG,
    toolchain=OPEN_ECP5,
    clock_hz=CLOCK_HZ,
    platform=Ulx3sPlatform,
    domains=("sync",),
    clock=lambda: Ecp5Pll({"sync": Clock(CLOCK_HZ)}),
    memory=lambda: BlockRam(banks=BANKS, depth=DEPTH, address_bits=CONFIG.address_bits),
    memory_bytes=block_ram_bytes(BANKS, DEPTH),
    block_rams=LEFT,
    memory_bytes_per_s=8 * CLOCK_HZ,  # a word per clock, across bursts too
    link=lambda board: UartLink(board, baud=BAUD),
    load_bytes_per_s=BAUD / 10,
    lut_memories=(
        "accelerator.rope_rows", "accelerator.memory.read_0.gather_store*", "accelerator.attention.rows.buffer",
        "accelerator.attention.outputs", "accelerator.dots.operands*",
        "accelerator.dots.scale_store", "accelerator.attention.softmax",
        "accelerator.attention.softmax.lane_0", "link.bridge.bridge",
    ),
    flash=ULX3S.flash,
    documents=ULX3S.documents,
)
