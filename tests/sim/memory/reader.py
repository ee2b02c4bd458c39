"""Reads memory through every port as fast as the port takes bursts. Beats are counted behind it (sim/memory/top.py)."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import BOUNDARY_BYTES, AccelConfig
from hw.memory.axi import axi_signature, beat_size

__all__ = ["APART", "PORT_BITS", "Reader"]

PORT_BITS = 26
"""Address bits of an area. A port's stream begins again at the start of its area."""

APART = 1 << 14
"""Stream n begins as many bytes times n behind the start of its area."""


class Reader(wiring.Component):
    """A stream for each port, of bursts as long as AXI allows, in an area of its own.

    Members:
        m_axi_N: the ports.
        start: reads from now on.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({"start": In(1)} | {f"m_axi_{n}": Out(axi_signature(config)) for n in range(config.ports)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        burst = min(BOUNDARY_BYTES, 256 * config.beat_bytes)
        for number in range(config.ports):
            axi = getattr(self, f"m_axi_{number}")
            place = Signal(PORT_BITS, init=number * APART)
            running = Signal(name=f"running_{number}")
            with m.If(self.start):
                m.d.sync += running.eq(1)
            with m.If(axi.arvalid & axi.arready):
                m.d.sync += place.eq(place + burst)
            m.d.comb += [
                axi.arvalid.eq(running), axi.araddr.eq(place | number << PORT_BITS), axi.arburst.eq(1),
                axi.arlen.eq(burst // config.beat_bytes - 1), axi.arsize.eq(beat_size(config)), axi.rready.eq(1),
            ]
        return m
