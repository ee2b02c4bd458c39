"""The shortlists of the columns of a group: their best rows, the sums of their powers, and the way to memory. This file
wires."""

from __future__ import annotations

from amaranth.hdl import Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.payloads import write_beat, write_request
from hw.contract.shortlist import SHORTLIST_ROWS
from hw.logits.interfaces import lm_head_command, logit_word, logits_row
from hw.logits.power_sum import PowerSum
from hw.logits.shortlist_writer import ShortlistWriter
from hw.logits.top_logits import TopLogits
from hw.streams import fork

__all__ = ["Shortlist"]


class Shortlist(wiring.Component):
    """Section 7.1 of docs/numerics.md for the columns of a group.

             i
        +----+-----+
    TopLogits   PowerSum
        +----+-----+
      ShortlistWriter -> o_request, o

    Rules: the columns of a group are announced before its logits.

    Cost: a logit that enters a list, and one that raises a reference, stop the logits behind it for as many clocks as
    `TopLogits` and `PowerSum` say. The records follow the last logit.

    Members:
        command: of the LM head; steady.
        i: logit_word.
        i_row: logits_row: where the record of a column goes, and the scale of its logits.
        o_request, o: to the write engine.
        idle: no record is under way.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "command": In(lm_head_command(config)),
            "i": In(stream.Signature(logit_word(config))),
            "i_row": In(stream.Signature(logits_row(config), always_ready=True)),
            "o_request": Out(stream.Signature(write_request(config))),
            "o": Out(stream.Signature(write_beat(config))),
            "idle": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.top = top = TopLogits(self.config)
        m.submodules.power_sum = power_sum = PowerSum(self.config)
        m.submodules.writer = writer = ShortlistWriter(self.config)
        flipped, connect, word, command = wiring.flipped, wiring.connect, self.i.payload, self.command
        fork(m, flipped(self.i), [(1, top.i), (1, power_sum.i)])
        connect(m, flipped(self.i_row), writer.i_row)
        connect(m, writer.list, top.read)
        connect(m, writer.o_request, flipped(self.o_request))
        connect(m, writer.o, flipped(self.o))
        m.d.comb += [
            power_sum.scale.column.eq(self.i_row.payload.column),
            power_sum.scale.scale.eq(self.i_row.payload.scale),
            power_sum.scale_en.eq(self.i_row.valid),
            power_sum.column.eq(writer.column),
            writer.sum.eq(power_sum.sum),
            writer.reference.eq(power_sum.reference),
            writer.columns.eq(command.columns),
            writer.count.eq(Mux(command.m > SHORTLIST_ROWS, SHORTLIST_ROWS, command.m)),
            writer.complete.eq(self.i.valid & self.i.ready & word.last & (word.column == command.columns - 1)),
            writer.settled.eq(~top.busy & ~power_sum.busy),
            self.idle.eq(writer.idle),
        ]
        return m
