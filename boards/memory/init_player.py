"""Plays the writes that start up a memory controller. This file is a small Wishbone master with a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["InitPlayer", "InitWrite"]


class InitWrite(NamedTuple):
    """A register write and what to wait behind it. `address` is in bytes, the wait in clocks."""

    address: int
    data: int
    wait_cycles: int = 0


class InitPlayer(wiring.Component):
    """Writes the list once, from reset on, one entry after the other. `done` stays 1 from the last one on.

    Cost: per entry 2 clocks, the controller's own, and the wait.

    Members:
        adr, dat_w, stb, ack: Wishbone, words of 32 bits, always writing; `stb` is also CYC.
        done: the list has been played.
    """

    def __init__(self, writes: Sequence[InitWrite]) -> None:
        self.writes = tuple(writes)
        super().__init__({
            "adr": Out(30), "dat_w": Out(32), "stb": Out(1), "ack": In(1), "done": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        number = Signal(range(len(self.writes)))
        wait = Signal(range(max(write.wait_cycles for write in self.writes) + 1))
        waited = Signal.like(wait)
        with m.Switch(number):  # no memory: so few words are cheaper in LUTs than in a block RAM
            for n, write in enumerate(self.writes):
                with m.Case(n):
                    m.d.comb += [self.adr.eq(write.address // 4), self.dat_w.eq(write.data), wait.eq(write.wait_cycles)]
        with m.FSM():
            with m.State("WRITE"):
                m.d.comb += self.stb.eq(1)
                m.d.sync += waited.eq(0)
                with m.If(self.ack):
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.sync += waited.eq(waited + 1)
                with m.If(waited == wait):
                    m.d.sync += number.eq(number + 1)
                    m.next = "WRITE"
                    with m.If(number == len(self.writes) - 1):
                        m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.eq(1)
        return m
