"""A board without an accelerator: the bridge, its memory port, and registers that do what tests need."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.serial_link_protocol import LinkStatus
from hw.memory.axi import RESPONSE_SLVERR, axi_signature
from hw.serial_link.serial_bridge import SerialBridge

__all__ = ["BAUD", "CLOCK_HZ", "COUNT", "MEMORY_BYTES", "REFUSED", "SILENT", "BoardRegisters", "LinkMachine"]

CLOCK_HZ, BAUD = 25_000_000, 3_000_000
MEMORY_BYTES = 1 << 17
WORDS = 16
COUNT, REFUSED, SILENT = 0x40, 0x44, 0x48
"""Registers behind the 16 that keep what is written: each write adds it to COUNT; REFUSED answers SLVERR; SILENT
nothing, until COUNT is written."""


class BoardRegisters:
    """The registers for `GoldenBoard`. SILENT is not modelled."""

    def __init__(self) -> None:
        self.words = [0] * WORDS
        self.count = 0

    def read(self, address: int) -> int | LinkStatus:
        if address == REFUSED:
            return LinkStatus.REGISTER_ERROR
        return self.count if address == COUNT else self.words[address // 4]

    def write(self, address: int, value: int) -> LinkStatus:
        if address == REFUSED:
            return LinkStatus.REGISTER_ERROR
        if address == COUNT:
            self.count = self.count + value & 0xFFFFFFFF
        else:
            self.words[address // 4] = value
        return LinkStatus.OK


class LinkMachine(wiring.Component):
    """SerialBridge with registers. Members: rx, tx, m_axi_0."""

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "m_axi_0": Out(axi_signature(config))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bridge = bridge = SerialBridge(
            self.config, clock_hz=CLOCK_HZ, baud=BAUD, memory_bytes=MEMORY_BYTES)
        wiring.connect(m, bridge.m_axi, wiring.flipped(self.m_axi_0))
        m.d.comb += [bridge.rx.eq(self.rx), self.tx.eq(bridge.tx)]
        axi = bridge.m_axi_lite
        words = Signal(data.ArrayLayout(unsigned(32), WORDS))
        count = Signal(32)
        silent = Signal()  # a read that gets no answer
        m.d.comb += [
            axi.awready.eq(axi.awvalid & axi.wvalid & ~axi.bvalid), axi.wready.eq(axi.awready),
            axi.arready.eq(~axi.rvalid & ~silent),
        ]
        with m.If(axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        with m.If(axi.rready):
            m.d.sync += axi.rvalid.eq(0)
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += [axi.bvalid.eq(1), axi.bresp.eq(0)]
            with m.If(axi.awaddr == COUNT):
                m.d.sync += count.eq(count + axi.wdata)
            with m.Elif(axi.awaddr == REFUSED):
                m.d.sync += axi.bresp.eq(RESPONSE_SLVERR)
            with m.Else():
                m.d.sync += words[axi.awaddr[2:6]].eq(axi.wdata)
        with m.If(axi.arvalid & axi.arready):
            m.d.sync += [axi.rvalid.eq(axi.araddr != SILENT), silent.eq(axi.araddr == SILENT), axi.rresp.eq(0)]
            m.d.sync += axi.rdata.eq(words[axi.araddr[2:6]])
            with m.If(axi.araddr == COUNT):
                m.d.sync += axi.rdata.eq(count)
            with m.If(axi.araddr == REFUSED):
                m.d.sync += axi.rresp.eq(RESPONSE_SLVERR)
        return m
