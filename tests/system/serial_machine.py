"""The accelerator and the serial bridge on one memory, as on a small board."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.accelerator import Accelerator
from hw.contract.config import AccelConfig
from hw.memory.axi import axi_signature
from hw.memory.axi_arbiter import AxiArbiter
from hw.serial_link.serial_bridge import SerialBridge

__all__ = ["BAUD", "CLOCK_HZ", "MEMORY_BYTES", "SerialMachine"]

CLOCK_HZ, BAUD = 25_000_000, 3_000_000
MEMORY_BYTES = 1 << 21


class SerialMachine(wiring.Component):
    """Members: rx, tx, m_axi_0."""

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "m_axi_0": Out(axi_signature(config))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.accelerator = accelerator = Accelerator(self.config)
        m.submodules.bridge = bridge = SerialBridge(
            self.config, clock_hz=CLOCK_HZ, baud=BAUD, memory_bytes=MEMORY_BYTES)
        m.submodules.arbiter = arbiter = AxiArbiter(self.config)
        wiring.connect(m, accelerator.m_axi_0, arbiter.i_0)
        wiring.connect(m, bridge.m_axi, arbiter.i_1)
        wiring.connect(m, arbiter.o, wiring.flipped(self.m_axi_0))
        wiring.connect(m, bridge.m_axi_lite, accelerator.s_axi_ctrl)
        m.d.comb += [bridge.rx.eq(self.rx), self.tx.eq(bridge.tx)]
        return m
