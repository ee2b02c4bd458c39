"""DDR3 memory of a board behind an AXI port. This file joins a LiteDRAM controller, its pads, training and test."""

from __future__ import annotations

from amaranth.hdl import ClockSignal, Const, Instance, Module, ResetSignal
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In, Out

from boards.memory.ddr3_training import Ddr3Training
from boards.memory.litedram import axi_pins, register_pins
from boards.memory.litedram_core import MODULE, DramCore
from boards.memory.memory_test import MemoryTest
from boards.memory.port import memory_port
from boards.memory.port_guard import PortGuard

__all__ = ["Ddr3Dram"]


class Ddr3Dram(wiring.Component):
    """A DDR3 chip at twice the machine's clock, which is the controller's and comes from it: this drives `sync`.

    The port takes no burst before the memory is trained and tested, about 84,000 clocks after reset. If that has
    failed, `ready` stays 0 and every burst is answered with SLVERR.
    Sequential reads reach 0.92 of half a word per clock as long as four bursts are in flight.

    The platform has the pads as resource `ddr3`, with the names of amaranth-boards. Optional are `cs` and `rst` and,
    for banks that need them, `vccio` and `gnd`: pins that are driven to 1, to 0.

    Members:
        axi: `memory_port`; the addresses are those of the chip, from 0.
        ready: the memory can be used.
    """

    def __init__(self, core: DramCore) -> None:
        self.core = core
        super().__init__({"axi": In(memory_port(core.address_bits, core.data_bits)), "ready": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        core = self.core
        widths = core.address_bits, core.data_bits
        m.submodules.training = training = Ddr3Training(core)
        m.submodules.test = test = MemoryTest(*widths)
        m.submodules.guard = guard = PortGuard(*widths)
        wiring.connect(m, wiring.flipped(self.axi), guard.user)
        wiring.connect(m, test.memory, guard.test)
        m.d.comb += [
            test.start.eq(training.done),
            self.ready.eq(test.passed),
            guard.open.eq(test.passed),
            guard.refuse.eq(training.failed | test.failed),
        ]
        platform.add_file(f"{MODULE}.v", core.verilog)
        m.submodules.crystal = crystal = io.Buffer("i", platform.request(platform.default_clk, dir="-"))
        pads = platform.request("ddr3", 0, dir="-")
        for name, level in (("vccio", ~0), ("gnd", 0)):
            if hasattr(pads, name):
                pins = getattr(pads, name)
                m.submodules[name] = levels = io.Buffer("o", pins)
                m.d.comb += levels.o.eq(Const(level, len(pins)))
        optional = {pin: getattr(pads, name).io for name, pin in (("cs", "cs_n"), ("rst", "reset_n"))
                    if hasattr(pads, name)}
        # The controller drives the pins as they are on the chip, active low where they are.
        m.submodules.controller = Instance(
            MODULE, i_clk=crystal.i, i_rst=0, o_user_clk=ClockSignal(), o_user_rst=ResetSignal(),
            **axi_pins(guard.memory), **register_pins(training),
            io_ddram_a=pads.a.io, io_ddram_ba=pads.ba.io, io_ddram_ras_n=pads.ras.io, io_ddram_cas_n=pads.cas.io,
            io_ddram_we_n=pads.we.io, io_ddram_cke=pads.clk_en.io, io_ddram_odt=pads.odt.io, io_ddram_dm=pads.dm.io,
            io_ddram_dq=pads.dq.io, io_ddram_dqs_p=pads.dqs.p, io_ddram_clk_p=pads.clk.p,
            **{f"io_ddram_{pin}": pad for pin, pad in optional.items()},
        )
        return m
