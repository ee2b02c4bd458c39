"""Serial line to bytes and back: 8 data bits, no parity, one stop bit, lowest bit first."""

from __future__ import annotations

from amaranth.hdl import C, Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from hw.contract.config import ConfigError
from hw.watch import watch_stream

__all__ = ["CLOCKS_IN_STEP", "UartReceiver", "UartTransmitter", "phase_step"]

PHASE_BITS = 20
"""A bit of the line is 2^PHASE_BITS steps long, so that the clock need not be a multiple of the bit rate."""

CLOCKS_PER_BIT = 8
"""At least so many: the receiver samples up to a clock late."""

CLOCKS_IN_STEP = 4
"""Enough for a line whose bits are exactly as long as the receiver's, which only a simulated one is."""


def phase_step(clock_hz: int, baud: int, clocks_per_bit: int = CLOCKS_PER_BIT) -> int:
    """What a clock adds to the phase of a bit of at least so many clocks.

    Raises ConfigError for rates that the clock does not give within 1 %.
    """
    step = round(baud * 2**PHASE_BITS / clock_hz)
    if clock_hz < clocks_per_bit * baud:
        raise ConfigError(f"{baud} baud needs a clock of {clocks_per_bit * baud} Hz at least, not {clock_hz} Hz")
    if abs(step * clock_hz - baud * 2**PHASE_BITS) > baud * 2**PHASE_BITS / 100:
        raise ConfigError(f"a clock of {clock_hz} Hz does not divide to {baud} baud; use a higher rate")
    return step


class UartReceiver(wiring.Component):
    """Receives bytes from a serial line.

    Rules: a bit is sampled in its middle, at most a clock late. A start bit that is not low in its middle is a glitch
    and is ignored. A byte without a stop bit is dropped; the next byte can start when the line is high again.

    Latency: a byte is valid 3 clocks after the middle of its stop bit.

    Members:
        rx: the line; it may be asynchronous.
        o: bytes. Each is valid for one clock and must be accepted in it.
    """

    def __init__(self, clock_hz: int, baud: int, clocks_per_bit: int = CLOCKS_PER_BIT) -> None:
        self.step = phase_step(clock_hz, baud, clocks_per_bit)
        super().__init__({"rx": In(1, init=1), "o": Out(stream.Signature(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)
        phase, tick = Signal(PHASE_BITS), Signal()
        bits = Signal(8)
        count = Signal(3)
        m.d.comb += [tick.eq((phase + self.step)[PHASE_BITS]), self.o.payload.eq(bits)]
        m.d.sync += [phase.eq(phase + self.step), self.o.valid.eq(0)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += phase.eq(1 << PHASE_BITS - 1)
                with m.If(~line):
                    m.next = "START"
            with m.State("START"):
                with m.If(tick):
                    m.next = "IDLE"
                    with m.If(~line):
                        m.next = "DATA"
            with m.State("DATA"):
                with m.If(tick):
                    m.d.sync += [bits.eq(Cat(bits[1:], line)), count.eq(count + 1)]
                    with m.If(count == 7):
                        m.next = "STOP"
            with m.State("STOP"):
                with m.If(tick):
                    m.d.sync += self.o.valid.eq(line)
                    m.next = "WAIT"
            with m.State("WAIT"):
                with m.If(line):
                    m.next = "IDLE"
        return m


class UartTransmitter(wiring.Component):
    """Sends bytes to a serial line, without a gap while bytes are available.

    Throughput: one byte per 10 bits of the line.

    Members:
        i: bytes.
        tx: the line, a register.
    """

    def __init__(self, clock_hz: int, baud: int, clocks_per_bit: int = CLOCKS_PER_BIT) -> None:
        self.step = phase_step(clock_hz, baud, clocks_per_bit)
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        watch_stream(m, platform, self.i, "i")
        bits = Signal(10, init=-1)
        count = Signal(range(11))
        phase, tick = Signal(PHASE_BITS), Signal()
        m.d.comb += [
            self.tx.eq(bits[0]),
            tick.eq((phase + self.step)[PHASE_BITS]),
            self.i.ready.eq((count == 0) | tick & (count == 1)),
        ]
        with m.If(count == 0):
            m.d.sync += phase.eq(0)
        with m.Else():
            m.d.sync += phase.eq(phase + self.step)
            with m.If(tick):
                m.d.sync += [bits.eq(Cat(bits[1:], C(1, 1))), count.eq(count - 1)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [bits.eq(Cat(C(0, 1), self.i.payload, C(1, 1))), count.eq(10)]
        return m
