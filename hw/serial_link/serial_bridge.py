"""Bridge from a serial line to memory and registers: wiring of the units of the serial link."""

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
    """Implements the board's side of docs/link-protocol.md.

        rx -> UartReceiver -> CobsDecoder -> FrameBuffer -> Bridge <-> m_axi, m_axi_lite
        tx <- UartTransmitter <- CobsEncoder <- FrameSender <-+

    Args:
        config: configuration of the accelerator; the memory port has its width, and HELLO returns its build id.
        clock_hz: frequency of the domain `sync`, at least `clocks_per_bit` times the bit rate.
        baud: bits per second of the line.
        memory_bytes: size of the memory, which starts at address 0; the bridge does not check addresses.
        clocks_per_bit: a smaller number than the default (`hw.serial_link.uart`) is for simulated lines.
        register_bits: address bits of the registers; a board with registers of its own has more than the accelerator.

    Raises:
        ConfigError: the clock does not give the bit rate within 1 %.

    Members:
        rx, tx: the line, high when idle. `rx` may be asynchronous.
        m_axi: AXI4 memory port, id 0 only; at most two short bursts in flight.
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
