"""Divides the rows of the LM head into blocks of the dot products: which come next, and which sums may be read."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.contract.config import AccelConfig
from hw.contract.head_layout import HeadLayout
from hw.dot.block_player import BLOCK_DONE
from hw.dot.interfaces import block_item
from hw.logits.interfaces import head_block, lm_head_command
from hw.watch import watch, watch_stream

__all__ = ["RowBlocks"]


class RowBlocks(wiring.Component):
    """Gives the blocks of a command to the dot products, at most two ahead of the one whose sums are read.

    The sums have two banks. While the logits of one are read, the beats of the next block fill the other. The packet
    stream stops if the sums of a block are not read when the beats of the block behind it end: reading takes 64 clocks
    for each column, from `BlockDots.done_latency` clocks behind its last beat on.

    Latency: the first item is offered in the clock after the command. No cost between blocks.

    Members:
        i: lm_head_command; taken when all blocks of the command before are read.
        command: the command under way; steady.
        o_item: block_item.
        done: BLOCK_DONE of the dot products.
        o_block: head_block; the blocks in their order.
        read: a pulse, all sums of the block taken last have been addressed.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(lm_head_command(config))),
            "command": Out(lm_head_command(config)),
            "o_item": Out(stream.Signature(block_item(config))),
            "done": In(BLOCK_DONE),
            "o_block": Out(stream.Signature(head_block(config))),
            "read": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        watch_stream(m, platform, self.o_item, "o_item")
        watch_stream(m, platform, self.o_block, "o_block")
        layout = HeadLayout.longest(self.config)
        most, rows = layout.block_groups, exact_log2(layout.group_rows)
        coming, reading = (Signal(range(layout.groups + 1), name=f"{name}_groups") for name in ("coming", "reading"))
        coming_bank, reading_bank, first = Signal(), Signal(), Signal()
        # blocks given and not read; of these, those whose sums are there
        unread, complete = Signal(range(3)), Signal(range(3))
        taken, given, offered = Signal(), Signal(), Signal()
        groups = (self.i.payload.m + (layout.group_rows - 1)) >> rows
        last = reading <= most
        m.d.comb += [
            self.i.ready.eq((reading == 0) & (unread == 0)),
            taken.eq(self.i.valid & self.i.ready),
            self.o_item.valid.eq((coming != 0) & (unread != 2)),
            self.o_item.payload.bank.eq(coming_bank),
            self.o_item.payload.groups.eq(Mux(coming > most, most, coming)),
            given.eq(self.o_item.valid & self.o_item.ready),
            self.o_block.valid.eq(complete != 0),
            self.o_block.payload.bank.eq(reading_bank),
            self.o_block.payload.rows.eq(Mux(last, reading, most) << rows),
            self.o_block.payload.first.eq(first),
            self.o_block.payload.last.eq(last),
            offered.eq(self.o_block.valid & self.o_block.ready),
        ]
        m.d.sync += [
            unread.eq(unread + given - self.read),
            complete.eq(complete + self.done.valid - offered),
        ]
        with m.If(given):
            m.d.sync += [coming.eq(coming - self.o_item.payload.groups), coming_bank.eq(~coming_bank)]
        with m.If(offered):
            m.d.sync += [reading.eq(Mux(last, 0, reading - most)), reading_bank.eq(~reading_bank), first.eq(0)]
        with m.If(taken):
            m.d.sync += [self.command.eq(self.i.payload), coming.eq(groups), reading.eq(groups), first.eq(1)]
        watch(m, platform, ~self.read | (unread != 0), "a block was read that was not given")
        watch(m, platform, ~self.done.valid | (unread != complete), "sums of a block that was not given")
        return m
