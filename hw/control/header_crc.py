"""Hardware that checks the CRC of a header, a whole beat per clock.

`amaranth.lib.crc.Processor` is not used: for a beat of 256 bits it builds a chain of exclusive ors that is too long for
Amaranth's simulator.
"""

from __future__ import annotations

from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import crc, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import HEADER_BYTES, AccelConfig
from hw.contract.crc import HEADER_CRC

__all__ = ["HeaderCrc"]


class HeaderCrc(wiring.Component):
    """Computes the CRC of the beats of a header, the CRC field included, and reports whether it is right.

    Latency: one clock. Throughput: one beat per clock. The packet reader reads `right` in the clock after the last
    beat, so the check adds no clock. Cost: each bit of the register has an exclusive or of about half of the bits of a
    beat.

    Members:
        beat: the bytes of a beat that belong to the header.
        valid: `beat` counts.
        first: `beat` is the first one of a header.
        right: the beats since `first` end with the CRC of the bytes before it.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        self.step = 8 * min(config.stream_bytes, HEADER_BYTES)
        super().__init__({"beat": In(self.step), "valid": In(1), "first": In(1), "right": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = HEADER_CRC.crc_width
        state = Signal(width)
        mixed = Signal(self.step)
        m.d.comb += [
            mixed.eq(self.beat ^ Mux(self.first, C(HEADER_CRC.initial_crc, width), state)),
            self.right.eq(state == HEADER_CRC().residue()),
        ]
        # From 0 on the CRC is linear: the state behind a beat is the exclusive or of what its bits make of it alone.
        linear = crc.Algorithm(crc_width=width, polynomial=HEADER_CRC.polynomial, initial_crc=0, reflect_input=True,
                               reflect_output=True, xor_output=0)
        effects = [linear(self.step).compute([1 << n]) for n in range(self.step)]
        with m.If(self.valid):
            for bit in range(width):
                m.d.sync += state[bit].eq(Cat(mixed[n] for n, effect in enumerate(effects) if effect >> bit & 1).xor())
        return m
