"""DRAM of a board behind an AXI port. This file joins a LiteDRAM controller, its pads and its start-up."""

from __future__ import annotations

from amaranth.hdl import C, Cat, ClockSignal, Instance, Module, ResetSignal
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In, Out

from boards.memory.litedram_core import MODULE, DramCore
from boards.memory.port import memory_port
from boards.memory.register_player import RegisterPlayer

__all__ = ["SdrDram", "axi_pins", "register_pins"]

def axi_pins(port: wiring.PureInterface) -> dict[str, object]:
    """The AXI port as ports of the controller's module, where AxSIZE has four bits."""
    pins = {
        f"{'i' if member.flow is Out else 'o'}_user_port_axi0_{name}": getattr(port, name)
        for name, member in memory_port(1, 8).members.items()
    }
    return {name: Cat(pin, C(0, 1)) if name.endswith("size") else pin for name, pin in pins.items()}


def register_pins(master: wiring.Component) -> dict[str, object]:
    """The Wishbone port of a `RegisterPlayer` as ports of the controller's module."""
    return {
        "i_wb_ctrl_adr": master.adr, "i_wb_ctrl_dat_w": master.dat_w, "o_wb_ctrl_dat_r": master.dat_r,
        "i_wb_ctrl_sel": 0b1111, "i_wb_ctrl_we": master.we, "i_wb_ctrl_cyc": master.stb, "i_wb_ctrl_stb": master.stb,
        "i_wb_ctrl_cti": 0, "i_wb_ctrl_bte": 0, "o_wb_ctrl_ack": master.ack,
    }


class SdrDram(wiring.Component):
    """An SDR chip at twice the machine's clock; a word of the port is a burst of two words of the chip.

    The port takes no burst before the chip is up and the controller in charge: about 20,600 clocks after reset.
    Sequential reads reach 0.93 of a word per clock as long as four bursts are in flight.

    Clock domains: sync; `sdram`, of twice the frequency, every other of whose edges is one of sync; `sdram_pin`, the
    same but later, whose edges are the chip's clock.

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
        m.submodules.start = start = RegisterPlayer([[*core.start, *core.hand_over]])
        m.d.comb += start.start.eq(~self.ready)
        with m.If(start.done):
            m.d.sync += self.ready.eq(1)
        platform.add_file(f"{MODULE}.v", core.verilog)
        pads = platform.request("sdram", 0, dir="-")
        # The controller drives the pins as they are on the chip, active low where they are.
        m.submodules.controller = Instance(
            MODULE, i_clk=ClockSignal(), i_clk2x=ClockSignal("sdram"), i_rst=ResetSignal(),
            **axi_pins(self.axi), **register_pins(start),
            io_sdram_a=pads.a.io, io_sdram_ba=pads.ba.io, io_sdram_ras_n=pads.ras.io, io_sdram_cas_n=pads.cas.io,
            io_sdram_we_n=pads.we.io, io_sdram_cs_n=pads.cs.io, io_sdram_cke=pads.clk_en.io, io_sdram_dm=pads.dqm.io,
            io_sdram_dq=pads.dq.io,
        )
        m.submodules.clock = clock = io.DDRBuffer("o", pads.clk, o_domain="sdram_pin")
        m.d.comb += clock.o.eq(0b01)
        return m
