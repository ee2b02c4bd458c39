"""Connection of the accelerator to the host over a UART of the board."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import io, wiring
from amaranth.lib.wiring import Out

from boards.board import Board
from hw.contract.register_map import ADDRESS_BITS
from hw.control.registers import axi_lite_signature
from hw.memory.axi import axi_signature
from hw.serial_link.serial_bridge import SerialBridge
from hw.serial_link.uart import CLOCKS_PER_BIT

__all__ = ["UartLink"]


class UartLink(wiring.Component):
    """`SerialBridge` on the resource `uart` of the platform, with its arguments.

    Members:
        m_axi: memory, as the accelerator sees it. m_axi_lite: registers of the accelerator.
    """

    def __init__(self, board: Board, *, baud: int, clocks_per_bit: int = CLOCKS_PER_BIT) -> None:
        self.board, self.baud, self.clocks_per_bit = board, baud, clocks_per_bit
        super().__init__({
            "m_axi": Out(axi_signature(board.config)), "m_axi_lite": Out(axi_lite_signature(ADDRESS_BITS)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        board = self.board
        pads = platform.request("uart", 0, dir="-")
        m.submodules.rx = rx = io.Buffer("i", pads.rx)
        m.submodules.tx = tx = io.Buffer("o", pads.tx)
        m.submodules.bridge = bridge = SerialBridge(
            board.config, clock_hz=int(board.clock_hz), baud=self.baud, memory_bytes=board.memory_bytes,
            clocks_per_bit=self.clocks_per_bit)
        m.d.comb += [bridge.rx.eq(rx.i), tx.o.eq(bridge.tx)]
        wiring.connect(m, bridge.m_axi, wiring.flipped(self.m_axi))
        wiring.connect(m, bridge.m_axi_lite, wiring.flipped(self.m_axi_lite))
        return m
