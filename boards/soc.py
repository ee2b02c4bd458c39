"""The machine on a board: clocks, accelerator, memory, link. Wiring only."""

from __future__ import annotations

from amaranth.hdl import ClockDomain, Elaboratable, Module
from amaranth.lib import io, wiring

from boards.board import Board
from boards.memory.axi_narrow import AxiNarrow
from hw.accelerator import Accelerator
from hw.memory.axi_arbiter import AxiArbiter

__all__ = ["Soc"]


class Soc(Elaboratable):
    """Top level of a bitstream; its pins are requested from the board's platform.

    The accelerator and the host share the memory: whoever waits has its turn when what the other has in flight is
    through. The first LED is on when the memory can be used.
    """

    def __init__(self, board: Board) -> None:
        self.board = board

    def elaborate(self, platform: object) -> Module:
        m = Module()
        board, config = self.board, self.board.config
        m.domains += [ClockDomain(name) for name in board.domains]
        m.submodules.clock = board.clock()
        m.submodules.accelerator = accelerator = Accelerator(config)
        m.submodules.link = link = board.link(board)
        m.submodules.arbiter = arbiter = AxiArbiter(config)
        m.submodules.memory = memory = board.memory()
        port = memory.axi
        m.submodules.width = width = AxiNarrow(config, address_bits=len(port.araddr), data_bits=len(port.rdata))
        wiring.connect(m, link.m_axi_lite, accelerator.s_axi_ctrl)
        wiring.connect(m, accelerator.m_axi_0, arbiter.i_0)
        wiring.connect(m, link.m_axi, arbiter.i_1)
        wiring.connect(m, arbiter.o, width.wide)
        wiring.connect(m, width.narrow, port)
        m.submodules.led = led = io.Buffer("o", platform.request("led", 0, dir="-"))
        m.d.comb += led.o.eq(memory.ready)
        return m
