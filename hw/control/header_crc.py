"""Hardware of the CRC of a header, unrolled from `advance_crc` of hw/contract/crc.py."""

from __future__ import annotations

from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import HEADER_BYTES, AccelConfig
from hw.contract.crc import CRC_BITS, CRC_RESIDUE, CRC_START, advance_crc

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
        state = Signal(CRC_BITS)
        mixed = Signal(self.step)
        m.d.comb += [
            mixed.eq(self.beat ^ Mux(self.first, C(CRC_START, CRC_BITS), state)),
            self.right.eq(state == CRC_RESIDUE),
        ]
        effects = [advance_crc(0, 1 << n, self.step) for n in range(self.step)]
        with m.If(self.valid):
            for bit in range(CRC_BITS):
                m.d.sync += state[bit].eq(Cat(mixed[n] for n, effect in enumerate(effects) if effect >> bit & 1).xor())
        return m
