"""Where the clocks of a run went."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Counters"]


class Counters(wiring.Component):
    """One counter per name of NAMES, which counts the clocks with `<name>_en`; `clear` sets all to 0. They wrap around.

    Cost: 64 bits for `cycles`, 32 for each of the others.
    """

    NAMES = (
        "cycles", "stream_busy", "stream_starved", "array_waiting", "stream_waiting", "attention_busy", "head_busy",
        "embed_busy", "norm_busy", "matmul_busy",
    )

    def __init__(self) -> None:
        super().__init__(
            {"clear": In(1)}
            | {f"{name}_en": In(1) for name in self.NAMES}
            | {name: Out(64 if name == "cycles" else 32) for name in self.NAMES}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name in self.NAMES:
            counter = getattr(self, name)
            with m.If(self.clear):
                m.d.sync += counter.eq(0)
            with m.Elif(getattr(self, f"{name}_en")):
                m.d.sync += counter.eq(counter + 1)
        return m
