"""Hardware of the CRC of a header, for a whole beat per clock.

`amaranth.lib.crc.Processor` is not it: the exclusive or of a beat of 256 bits is a chain there, too long for Amaranth's
simulator.
"""

from __future__ import annotations

from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import crc, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import HEADER_BYTES, AccelConfig
from hw.contract.crc import HEADER_CRC

__all__ = ["HeaderCrc"]


class HeaderCrc(wiring.Component):
    """Follows the beats of a header, its CRC included, and says whether they belong together.

    An exclusive or of about half of a beat's bits in front of each bit of a register. Latency: one clock, a beat per
    clock; nothing waits for it, as a header is looked at in the clock after its last beat anyway.

    Members:
        beat: the bytes of a beat that belong to the header. valid: they are there. first: they begin a header.
        right: the beats since `first` end with the CRC of those before.
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
