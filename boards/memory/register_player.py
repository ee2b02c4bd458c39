"""Wishbone master that executes stored lists of register accesses to a memory controller."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from amaranth.hdl import Array, Module, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RegisterCheck", "RegisterPlayer", "RegisterWrite"]

ANSWER_CYCLES = 32
"""Most clocks that the controller may take for one access."""


class RegisterWrite(NamedTuple):
    """A register write, followed by a wait. `address` is in bytes, the wait in clocks."""

    address: int
    data: int
    wait_cycles: int = 0


class RegisterCheck(NamedTuple):
    """A register read. Byte lane n of the memory is good if the bits `masks[n]` are those of `data`."""

    address: int
    data: int
    masks: tuple[int, ...]


class RegisterPlayer(wiring.Component):
    """Plays one of several lists, one entry after the other.

    Rules: `start` at rest begins; `done` is 1 in the last clock of a list. At `done`, `good` tells of each byte lane
    that all checks of the list were. An access without an answer after ANSWER_CYCLES is good on no lane.

    Cost: per entry 3 clocks, the controller's own, and the wait.

    Members:
        adr, dat_w, we, stb, dat_r, ack: Wishbone, words of 32 bits; `stb` is also CYC.
        number, start, done: which list, and when. good: what its checks found.
    """

    def __init__(self, lists: Sequence[Sequence[RegisterWrite | RegisterCheck]], lanes: int = 0) -> None:
        self.lists = tuple(tuple(entries) for entries in lists)
        self.lanes = lanes
        super().__init__({
            "adr": Out(30), "dat_w": Out(32), "we": Out(1), "stb": Out(1), "dat_r": In(32), "ack": In(1),
            "number": In(range(max(len(self.lists), 2))), "start": In(1), "done": Out(1), "good": Out(lanes),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        entries = [entry for one in self.lists for entry in one]
        masks = sorted({entry.masks for entry in entries if isinstance(entry, RegisterCheck)})
        longest = max(entry.wait_cycles for entry in entries if isinstance(entry, RegisterWrite))
        layout = data.StructLayout({
            "address": unsigned(max(entry.address for entry in entries).bit_length()), "data": unsigned(32),
            "wait": unsigned(longest.bit_length()), "check": 1, "masks": range(len(masks) or 1), "last": 1,
        })
        rows = [
            {"address": entry.address, "data": entry.data, "last": n == len(one) - 1} | (
                {"wait": entry.wait_cycles} if isinstance(entry, RegisterWrite)
                else {"check": 1, "masks": masks.index(entry.masks)})
            for one in self.lists for n, entry in enumerate(one)
        ]
        m.submodules.entries = rom = memory.Memory(shape=layout, depth=len(rows), init=rows)
        read = rom.read_port()
        entry, place, clocks = read.data, Signal(range(len(rows))), Signal(range(max(longest, ANSWER_CYCLES) + 1))
        starts = Array([0, *accumulate(len(one) for one in self.lists[:-1])])
        answered, lost = Signal(), Signal()
        m.d.comb += [
            read.addr.eq(place), self.adr.eq(entry.address >> 2), self.dat_w.eq(entry.data), self.we.eq(~entry.check),
            lost.eq(clocks == ANSWER_CYCLES - 1), answered.eq(self.ack | lost),
        ]
        with m.FSM():
            with m.State("REST"):
                m.d.sync += [place.eq(starts[self.number]), self.good.eq(~0)]
                with m.If(self.start):
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.d.sync += clocks.eq(0)
                m.next = "ACCESS"
            with m.State("ACCESS"):
                m.d.comb += self.stb.eq(1)
                m.d.sync += clocks.eq(clocks + 1)
                with m.If(answered):
                    m.d.sync += clocks.eq(0)
                    differs = self.dat_r ^ entry.data
                    for lane in range(self.lanes):
                        mask = Array([bits[lane] for bits in masks])[entry.masks]
                        with m.If(~self.ack | entry.check & (differs & mask).any()):
                            m.d.sync += self.good[lane].eq(0)
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.sync += clocks.eq(clocks + 1)
                with m.If(clocks == entry.wait):
                    m.d.sync += place.eq(place + 1)
                    m.d.comb += self.done.eq(entry.last)
                    m.next = "FETCH"
                    with m.If(entry.last):
                        m.next = "REST"
        return m
