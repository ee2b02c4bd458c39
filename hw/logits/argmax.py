"""This file finds the row with the largest logit."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.float.compare import float_greater
from hw.watch import watch_stream

__all__ = ["Argmax", "best_row", "logit_word"]


def logit_word(config: AccelConfig) -> data.StructLayout:
    """One logit: its row, its 25-bit code, whether it is the last of its command."""
    return data.StructLayout({"row": range(max(2, config.max_vocab)), "logit": FLOAT_BITS, "last": 1})


def best_row(config: AccelConfig) -> data.StructLayout:
    """The row with the largest logit, and that logit."""
    return data.StructLayout({"row": range(max(2, config.max_vocab)), "logit": FLOAT_BITS})


class Argmax(wiring.Component):
    """The row of the largest logit of a command; ties go to the lowest row.

    Rows come in ascending order, so that a later logit replaces the best one only when it is strictly greater.

    Cycles: one logit per clock; the result is valid one clock after the logit with `last`, and the next command's first
    logit is taken in the clock in which the result is.

    Members:
        i: logits of one command, the last one marked.
        o: one result per command.
    """

    def __init__(self, config: AccelConfig):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(logit_word(config))),
            "o": Out(stream.Signature(best_row(config))),
        })

    def elaborate(self, platform):
        m = Module()
        watch_stream(m, platform, self.o, "o")
        started = Signal()
        # The best logit so far is kept in the output register: it is free whenever a logit is taken.
        best = self.o.payload
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [started.eq(~self.i.payload.last), self.o.valid.eq(self.i.payload.last)]
            with m.If(~started | float_greater(self.i.payload.logit, best.logit)):
                m.d.sync += [best.row.eq(self.i.payload.row), best.logit.eq(self.i.payload.logit)]
        return m
