"""Attention with the dot products that it shares with the LM head, as one unit for the benches."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hw.attention.attention import Attention
from hw.contract.config import AccelConfig
from hw.dot.block_dots import BlockDots

__all__ = ["AttentionWithDots"]


class AttentionWithDots(wiring.Component):
    """The ports of `Attention` but for `dots`. The LM head is never active."""

    def __init__(self, config: AccelConfig) -> None:
        self.config, self.attention = config, Attention(config)
        super().__init__({name: one for name, one in self.attention.signature.members.items() if name != "dots"})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.attention = attention = self.attention
        m.submodules.dots = dots = BlockDots(self.config)
        wiring.connect(m, attention.dots, dots.attention)
        for name, member in self.signature.members.items():
            outer, inner = getattr(self, name), getattr(attention, name)
            if member.is_signature:
                wiring.connect(m, wiring.flipped(outer), inner)
            else:
                m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        return m
