"""Search for the best read delay of a byte lane of a DDR memory: the middle of the longest run of working settings."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["LongestWindow"]


class LongestWindow(wiring.Component):
    """The middle of the longest window: delays next to each other, at one bitslip, that all work; the first of equals.

    Rules: `step` tells of one setting whether it works. Settings come in order: all delays from 0 of a bitslip, then
    the next bitslip. They come once. Of an even number of delays the lower of the two in the middle is it.

    Members:
        step, works, bitslip, delay: the settings one by one.
        length: of the window, in delays; 0 if nothing works. best_bitslip, best_delay: its middle.
    """

    def __init__(self, bitslips: int, delays: int) -> None:
        super().__init__({
            "step": In(1), "works": In(1), "bitslip": In(range(bitslips)), "delay": In(range(delays)),
            "length": Out(range(delays + 1)), "best_bitslip": Out(range(bitslips)), "best_delay": Out(range(delays)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        before, run, end = Signal.like(self.length), Signal.like(self.length), Signal.like(self.delay)
        m.d.comb += [
            run.eq(Mux(self.works, Mux(self.delay == 0, 0, before) + 1, 0)),
            self.best_delay.eq(end - self.length // 2),
        ]
        with m.If(self.step):
            m.d.sync += before.eq(run)
            with m.If(run > self.length):
                m.d.sync += [self.length.eq(run), self.best_bitslip.eq(self.bitslip), end.eq(self.delay)]
        return m
