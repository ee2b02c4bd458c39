"""This file computes the exact logits of single rows of the LM head: it reads them, and has the dot products work."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.head_layout import HeadLayout
from hw.contract.payloads import gather_request
from hw.dot.block_player import BLOCK_DONE
from hw.dot.interfaces import block_item
from hw.logits.interfaces import candidate, head_block
from hw.logits.row_requests import RowRequests
from hw.streams import Queue, fork
from hw.watch import watch, watch_stream

__all__ = ["Rescore"]

READ_AHEAD = 8
"""Rows that are requested ahead of the dot products. With a beat of 16 bytes per port, 8 rows of 2,560 bytes are 1,280
clocks: memory has long answered."""


class Rescore(wiring.Component):
    """Makes a read, an item of the dot products and a block for `LogitReader` of each row.

        i -+-> RowRequests -> o_request
           +-> Queue -> o_item (when a bank of the sums is free) -> Queue -> o_block (when its sums are there)

    A read brings one row from each port at the same time, the wanted one and its neighbours, as a beat of the dot
    products has a part of every port; the sum of the wanted one is read.

    Throughput: a row takes its beats, or, if that is more, the latency of the dot products and of `LogitReader`, two
    rows at a time.

    Members:
        base: byte address of the region `head`; steady.
        row_beats: port beats of a row; steady.
        i: candidate.
        o_request: the reads, on all ports.
        o_item: block_item, HeadRows.RESCORED.
        done: BLOCK_DONE of these items.
        o_block: head_block; the rows in their order.
        read: a pulse, the sum of the block taken last has been addressed.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "base": In(config.address_bits),
            "row_beats": In(range(HeadLayout.longest(config).row_beats + 1)),
            "i": In(stream.Signature(candidate(config))),
            "o_request": Out(stream.Signature(gather_request(config))),
            "o_item": Out(stream.Signature(block_item(config))),
            "done": In(BLOCK_DONE),
            "o_block": Out(stream.Signature(head_block(config))),
            "read": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        watch_stream(m, platform, self.o_item, "o_item")
        watch_stream(m, platform, self.o_block, "o_block")
        m.submodules.requests = requests = RowRequests(self.config)
        m.submodules.waiting = waiting = Queue(candidate(self.config), READ_AHEAD)
        banked = data.StructLayout({"bank": 1, "candidate": candidate(self.config)})
        m.submodules.given = given = Queue(banked, 2)
        wiring.connect(m, requests.o, wiring.flipped(self.o_request))
        fork(m, self.i, [(1, requests.i), (1, waiting.i)])
        m.d.comb += [
            requests.base.eq(self.base),
            requests.row_beats.eq(self.row_beats),
            requests.i.payload.eq(self.i.payload.row),
        ]
        # rows given and not read; of these, those whose sums are there
        unread, complete, bank = Signal(range(3)), Signal(range(3)), Signal()
        taken, offered = Signal(), Signal()
        first = given.o.payload
        m.d.comb += [
            self.o_item.valid.eq(waiting.o.valid & (unread != 2)),
            self.o_item.payload.bank.eq(bank),
            self.o_item.payload.groups.eq(1),
            taken.eq(self.o_item.valid & self.o_item.ready),
            waiting.o.ready.eq(taken),
            given.i.payload.bank.eq(bank),
            given.i.payload.candidate.eq(waiting.o.payload),
            given.i.valid.eq(taken),
            self.o_block.valid.eq(complete != 0),
            self.o_block.payload.bank.eq(first.bank),
            self.o_block.payload.rows.eq(1),
            self.o_block.payload.first.eq(first.candidate.first),
            self.o_block.payload.last.eq(first.candidate.last),
            self.o_block.payload.candidate.eq(first.candidate),
            offered.eq(self.o_block.valid & self.o_block.ready),
            given.o.ready.eq(offered),
        ]
        m.d.sync += [
            bank.eq(bank ^ taken),
            unread.eq(unread + taken - self.read),
            complete.eq(complete + self.done.valid - offered),
        ]
        watch(m, platform, ~self.read | (unread != 0), "a row was read that was not given")
        watch(m, platform, ~self.done.valid | (unread != complete), "the sum of a row that was not given")
        return m
