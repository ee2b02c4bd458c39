"""A serial line to the memory and the registers of the machine. This file joins the parts of the board's end."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.register_map import ADDRESS_BITS
from hw.control.registers import axi_lite_signature
from hw.memory.axi import axi_signature
from hw.serial_link.bridge import Bridge
from hw.serial_link.cobs import CobsDecoder, CobsEncoder
from hw.serial_link.frame_buffer import FrameBuffer
from hw.serial_link.frame_sender import FrameSender
from hw.serial_link.uart import CLOCKS_PER_BIT, UartReceiver, UartTransmitter, phase_step

__all__ = ["SerialBridge"]


class SerialBridge(wiring.Component):
    """The board's end of docs/link-protocol.md.

    Args:
        config: that of the accelerator; the memory port has its width, and the host is told its build id.
        clock_hz: of the domain `sync`, at least `clocks_per_bit` times the bit rate.
        baud: bits per second of the line.
        memory_bytes: size of the memory, which starts at address 0; what lies behind it is the board's business.
        clocks_per_bit: fewer than the default (`hw.serial_link.uart`) are for simulated lines.
        register_bits: address bits of the registers; more than those of the accelerator where the board has its own.

    Raises ConfigError for a bit rate that the clock does not give within 1 %.

    Members:
        rx, tx: the line, high when idle. `rx` may be asynchronous.
        m_axi: AXI4 memory port, id 0 only; two short bursts in flight at most.
        m_axi_lite: AXI4-Lite registers.
    """

    def __init__(
        self, config: AccelConfig, *, clock_hz: int, baud: int, memory_bytes: int,
        clocks_per_bit: int = CLOCKS_PER_BIT, register_bits: int = ADDRESS_BITS,
    ) -> None:
        self.config = config
        self.clock_hz, self.baud, self.memory_bytes, self.register_bits = clock_hz, baud, memory_bytes, register_bits
        self.clocks_per_bit = clocks_per_bit
        phase_step(clock_hz, baud, clocks_per_bit)
        super().__init__({
            "rx": In(1, init=1), "tx": Out(1, init=1),
            "m_axi": Out(axi_signature(config)), "m_axi_lite": Out(axi_lite_signature(register_bits)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(self.clock_hz, self.baud, self.clocks_per_bit)
        m.submodules.transmitter = transmitter = UartTransmitter(self.clock_hz, self.baud, self.clocks_per_bit)
        m.submodules.decoder = decoder = CobsDecoder()
        m.submodules.buffer = buffer = FrameBuffer()
        m.submodules.bridge = bridge = Bridge(
            self.config, clock_hz=self.clock_hz, memory_bytes=self.memory_bytes, register_bits=self.register_bits)
        m.submodules.sender = sender = FrameSender()
        m.submodules.encoder = encoder = CobsEncoder()
        m.d.comb += [receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx), bridge.damaged.eq(buffer.damaged)]
        wiring.connect(m, receiver.o, decoder.i)
        wiring.connect(m, decoder.o, buffer.i)
        wiring.connect(m, buffer.o, bridge.i)
        wiring.connect(m, bridge.o, sender.i)
        wiring.connect(m, sender.o, encoder.i)
        wiring.connect(m, encoder.o, transmitter.i)
        wiring.connect(m, bridge.m_axi, wiring.flipped(self.m_axi))
        wiring.connect(m, bridge.m_axi_lite, wiring.flipped(self.m_axi_lite))
        return m
