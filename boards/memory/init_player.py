"""Plays the writes that start up a memory controller. This file is a small Wishbone master with a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["InitPlayer", "InitWrite"]


class InitWrite(NamedTuple):
    """A register write and what to wait behind it. `address` is in bytes, the wait in clocks."""

    address: int
    data: int
    wait_cycles: int = 0


class InitPlayer(wiring.Component):
    """Writes the list once, from reset on, one entry after the other. `done` stays 1 from the last one on.

    Cost: per entry 3 clocks, the controller's own, and the wait.

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
        longest = max(write.wait_cycles for write in self.writes)
        entry = data.StructLayout({
            "adr": unsigned(12), "data": unsigned(16), "wait": unsigned(max(1, longest.bit_length()))})
        init = [{"adr": write.address // 4, "data": write.data, "wait": write.wait_cycles} for write in self.writes]
        m.submodules.list = entries = memory.Memory(shape=entry, depth=len(init), init=init)
        read = entries.read_port()
        number, waited = Signal(range(len(init))), Signal(entry["wait"].shape)
        m.d.comb += [
            read.addr.eq(number),
            read.en.eq(1),
            self.adr.eq(read.data.adr),
            self.dat_w.eq(read.data.data),
        ]
        with m.FSM():
            with m.State("FETCH"):
                m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += self.stb.eq(1)
                m.d.sync += waited.eq(0)
                with m.If(self.ack):
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.sync += waited.eq(waited + 1)
                with m.If(waited == read.data.wait):
                    m.d.sync += number.eq(number + 1)
                    m.next = "FETCH"
                    with m.If(number == len(init) - 1):
                        m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.eq(1)
        return m
