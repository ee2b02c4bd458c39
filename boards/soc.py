"""Top level of a bitstream: connects clocks, accelerator, memory and serial link."""

from __future__ import annotations

from amaranth.hdl import ClockDomain, Elaboratable, Module
from amaranth.lib import io, wiring

from boards.board import Board
from boards.memory.axi_narrow import AxiNarrow
from boards.memory.axi_widen import AxiWiden
from hw.accelerator import Accelerator
from hw.contract.config import AccelConfig
from hw.memory.axi_arbiter import AxiArbiter

__all__ = ["Soc", "width_adapter"]


def width_adapter(config: AccelConfig, port: wiring.PureInterface) -> AxiNarrow | AxiWiden:
    """Adapter between the accelerator's port (`machine`) and a memory's `boards.memory.port.memory_port` (`memory`)."""
    adapter = AxiWiden if len(port.rdata) > config.port_bits else AxiNarrow
    return adapter(config, address_bits=len(port.araddr), data_bits=len(port.rdata))


class Soc(Elaboratable):
    """Top level of a bitstream; its pins are requested from the board's platform.

    The accelerator and the host share the memory. An arbiter grants a waiting port once the transfers of the other port
    are complete. The first LED is on when the memory is ready.
    """

    def __init__(self, board: Board) -> None:
        self.board = board

    def elaborate(self, platform: object) -> Module:
        m = Module()
        board, config = self.board, self.board.config
        m.domains += [ClockDomain(name) for name in board.domains]
        if board.clock:
            m.submodules.clock = board.clock()
        m.submodules.accelerator = accelerator = Accelerator(config)
        m.submodules.link = link = board.link(board)
        m.submodules.arbiter = arbiter = AxiArbiter(config)
        m.submodules.memory = memory = board.memory()
        m.submodules.width = width = width_adapter(config, memory.axi)
        wiring.connect(m, link.m_axi_lite, accelerator.s_axi_ctrl)
        wiring.connect(m, accelerator.m_axi_0, arbiter.i_0)
        wiring.connect(m, link.m_axi, arbiter.i_1)
        wiring.connect(m, arbiter.o, width.machine)
        wiring.connect(m, width.memory, memory.axi)
        m.submodules.led = led = io.Buffer("o", platform.request("led", 0, dir="-"))
        m.d.comb += led.o.eq(memory.ready)
        return m
