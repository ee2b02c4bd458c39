"""Counters of the clocks of a run, one per kind of activity."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.register_map import COUNTERS
from hw.control.registers import counters_signature

__all__ = ["Counters"]


class Counters(wiring.Component):
    """Counts clocks, with one counter for each name of COUNTERS.

    Latency: a clock is counted one clock later. Cost: `COUNTER_BITS` flip-flops per counter.

    Members:
        enable: a bit per counter, high in the clocks that it counts.
        clear: sets all counters to 0.
        count: the values.
    """

    def __init__(self) -> None:
        super().__init__({
            "clear": In(1),
            "enable": In(data.StructLayout(dict.fromkeys(COUNTERS, 1))),
            "count": Out(counters_signature()),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name in COUNTERS:
            counter = getattr(self.count, name)
            with m.If(self.clear):
                m.d.sync += counter.eq(0)
            with m.Elif(self.enable[name]):
                m.d.sync += counter.eq(counter + 1)
        return m
