"""Start-up of a DDR3 memory: initialise the chip, then train the read delay of each byte lane."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from boards.memory import ddr3_lists as lists
from boards.memory.ddr3_lists import BITSLIPS, BYTE_LANES, DELAYS
from boards.memory.litedram_core import DramCore
from boards.memory.longest_window import LongestWindow
from boards.memory.register_player import RegisterPlayer

__all__ = ["SHORTEST_WINDOW", "Ddr3Training"]

SHORTEST_WINDOW = 2
"""Fewest adjacent delays that must work. A single one may be an edge that works by chance."""

TRIES = 8
"""Number of times the chosen delay is set and tested before training fails."""


class Ddr3Training(wiring.Component):
    """Writes and reads patterns at every bitslip and delay, all byte lanes at once; each lane takes its longest window.

    Rules: begins at reset and ends with `done` or `failed`, which stays. Failed has a lane without a window of
    SHORTEST_WINDOW delays, or whose choice does not work when it is tested again, TRIES times. Nothing is waited for
    without end: an access that is not answered counts as a pattern that did not come back.

    Time: the start of the chip, about 60,700 clocks, and 33 tests of about 600.

    Members:
        adr, dat_w, we, stb, dat_r, ack: Wishbone to the controller's registers.
        done: the controller is in charge of the chip and may be used. failed: it cannot be used.
    """

    def __init__(self, core: DramCore) -> None:
        self.core = core
        super().__init__({
            "adr": Out(30), "dat_w": Out(32), "we": Out(1), "stb": Out(1), "dat_r": In(32), "ack": In(1),
            "done": Out(1), "failed": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.player = player = RegisterPlayer(lists.training_lists(self.core), BYTE_LANES)
        for name in ("adr", "dat_w", "we", "stb"):
            m.d.comb += getattr(self, name).eq(getattr(player, name))
        m.d.comb += [player.dat_r.eq(self.dat_r), player.ack.eq(self.ack)]
        bitslip, delay, tries = Signal(range(BITSLIPS)), Signal(range(DELAYS)), Signal(range(TRIES))
        lane = Signal(range(BYTE_LANES))
        step = Signal()
        windows = [LongestWindow(BITSLIPS, DELAYS) for _ in range(BYTE_LANES)]
        for n, window in enumerate(windows):
            m.submodules[f"window_{n}"] = window
            m.d.comb += [window.step.eq(step), window.works.eq(player.good[n]),
                         window.bitslip.eq(bitslip), window.delay.eq(delay)]
        best_bitslip = Array(window.best_bitslip for window in windows)[lane]
        best_delay = Array(window.best_delay for window in windows)[lane]

        def play(number: int | Signal) -> None:
            m.d.comb += [player.number.eq(number), player.start.eq(1)]

        with m.FSM():
            with m.State("START"):
                play(lists.START)
                with m.If(player.done):
                    m.next = "RESET"
            with m.State("RESET"):
                play(lists.RESET)
                with m.If(player.done):
                    m.next = "SCAN"
            with m.State("SCAN"):
                play(lists.TEST)
                with m.If(player.done):
                    m.d.comb += step.eq(1)
                    m.d.sync += delay.eq(delay + 1)
                    m.next = "NEXT DELAY"
                    with m.If(delay == DELAYS - 1):
                        m.d.sync += bitslip.eq(bitslip + 1)
                        m.next = "NEXT BITSLIP"
                        with m.If(bitslip == BITSLIPS - 1):
                            m.next = "JUDGE"
            with m.State("NEXT DELAY"):
                play(lists.NEXT_DELAY)
                with m.If(player.done):
                    m.next = "SCAN"
            with m.State("NEXT BITSLIP"):
                play(lists.NEXT_BITSLIP)
                with m.If(player.done):
                    m.next = "SCAN"
            with m.State("JUDGE"):
                m.next = "RESET TO CHOICE"
                for window in windows:
                    with m.If(window.length < SHORTEST_WINDOW):
                        m.next = "FAILED"
            with m.State("RESET TO CHOICE"):
                play(lists.RESET)
                m.d.sync += [bitslip.eq(0), delay.eq(0), lane.eq(0)]
                with m.If(player.done):
                    m.next = "GO TO CHOICE"
            with m.State("GO TO CHOICE"):
                with m.If(bitslip != best_bitslip):
                    play(lists.NEXT_BITSLIP + 1 + lane)
                    with m.If(player.done):
                        m.d.sync += bitslip.eq(bitslip + 1)
                with m.Elif(delay != best_delay):
                    play(lists.NEXT_DELAY + 1 + lane)
                    with m.If(player.done):
                        m.d.sync += delay.eq(delay + 1)
                with m.Else():
                    m.d.sync += [bitslip.eq(0), delay.eq(0), lane.eq(lane + 1)]
                    with m.If(lane == BYTE_LANES - 1):
                        m.next = "CONFIRM"
            with m.State("CONFIRM"):
                play(lists.TEST)
                with m.If(player.done):
                    m.d.sync += tries.eq(tries + 1)
                    m.next = "RESET TO CHOICE"
                    with m.If(player.good.all()):
                        m.next = "FINISH"
                    with m.Elif(tries == TRIES - 1):
                        m.next = "FAILED"
            with m.State("FINISH"):
                play(lists.FINISH)
                with m.If(player.done):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.eq(1)
            with m.State("FAILED"):
                m.d.comb += self.failed.eq(1)
        return m
