"""Plays the beats of a block in the order of memory (`KvLayout`, `HeadLayout`): what each beat is and what it meets."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.contract.config import BLOCK_POSITIONS, AccelConfig
from hw.contract.head_layout import HeadLayout
from hw.contract.kv_layout import KvLayout
from hw.contract.payloads import kv_shape, stream_beat
from hw.dot.interfaces import HeadRows, block_item
from hw.dot.operands import activation_address, operand_address, operand_depth
from hw.dot.scale_store import scale_tag
from hw.watch import watch

__all__ = ["BLOCK_DONE", "BlockPlayer", "dot_tag"]

BLOCK_DONE = data.StructLayout({"valid": 1, "bank": unsigned(1)})
"""With `valid`, all sums of a bank are in place."""


def dot_tag(config: AccelConfig) -> data.StructLayout:
    """What accompanies a beat of keys or values through the dot products, with `valid`.

    `first` marks the beats of the first group of values, which begin sums, `last` the last beat of a row of keys, which
    ends them. `index` counts the rows of P keys of the block, or the beats of a group of values. `end` marks
    the last beat of the item. On a machine with a split head, `added` says which of the rows 0 and 1 of the operands
    make up the sum of row 0.
    """
    longest = max(BLOCK_POSITIONS // config.ports, KvLayout.longest(config).value_group_beats)
    return data.StructLayout({
        "valid": 1, "value": 1, "bank": unsigned(1), "index": range(longest), "first": 1, "last": 1, "end": 1,
        **({"added": 2} if config.candidates else {}),
    })


class BlockPlayer(wiring.Component):
    """Takes the beats of one item after the other, keys or values of a block, one beat per clock. Rows of the LM head
    are keys, of which a group has twice as many, since a row has one scale.

    Of a split head, rows of the high plane have half as many beats, and an item of rescored rows is one row on each
    port, without scales (`HeadRows`).

    Rules: an item has at least one group. A beat is taken whenever there is an item: what follows never waits. The
    control gives an item when the operands that it meets are written and the sums that it overwrites are read.

    Latency: beat and tags one clock after the beat was taken; the address of its operands at once. Throughput: one beat
    per clock, also from item to item when the next one waits.

    Members:
        i: block_item.
        i_beats: stream_beat, beats of all ports.
        shape: kv_shape; steady.
        head: items are rows of the LM head; steady while there are items.
        head_beats: port beats of such a row of int8; steady.
        rows: HeadRows, on a machine with a split head; steady while there are items.
        address: operand_address of the beat that is taken.
        beat: the beat; the tags say what it is.
        tag: dot_tag.
        scales: scale_tag.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(block_item(config))),
            "i_beats": In(stream.Signature(stream_beat(config))),
            "shape": In(kv_shape(config)),
            "head": In(1),
            "head_beats": In(range(HeadLayout.longest(config).row_beats + 1)),
            **({"rows": In(HeadRows)} if config.candidates else {}),
            "address": Out(range(operand_depth(config))),
            "beat": Out(stream_beat(config)),
            "tag": Out(dot_tag(config)),
            "scales": Out(scale_tag(config)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, pairs = self.config, self.config.kv_pairs
        item, active = Signal(block_item(config)), Signal()
        at_scales = Signal()  # the next beat is one of scales
        group, row = Signal(range(BLOCK_POSITIONS)), Signal(range(2 * pairs))
        kv, head_beats = KvLayout.longest(config), HeadLayout.longest(config).row_beats
        place = Signal(range(max(kv.key_beats, kv.value_group_beats, head_beats)))
        taken, dots, row_end, group_end, end = Signal(), Signal(), Signal(), Signal(), Signal()
        head_size, word, last_of_head = self._rows(place)
        size = Mux(self.head, head_size, Mux(item["value"], self.shape.value_group_beats, self.shape.key_beats))
        last_row = Mux(self.head, last_of_head, pairs - 1)
        pair_bits = exact_log2(pairs)
        in_block = Mux(self.head, Cat(row, group), Cat(row[:pair_bits], group))
        m.d.comb += [
            self.i_beats.ready.eq(active),
            taken.eq(active & self.i_beats.valid),
            dots.eq(taken & ~at_scales),
            row_end.eq(dots & (place == size - 1)),
            group_end.eq(row_end & (item["value"] | (row == last_row))),
            end.eq(group_end & (group == item.groups - 1)),
            self.i.ready.eq(~active | end),
            self.address.eq(Mux(self.head, activation_address(config, word), operand_address(
                config, weights=item["value"], bank=Mux(item["value"], item.bank, item.operands),
                index=Mux(item["value"], group, place)))),
        ]
        with m.If(taken):
            m.d.sync += [at_scales.eq(group_end & ~item["value"]), self.beat.eq(self.i_beats.payload)]
        with m.If(dots):
            m.d.sync += place.eq(Mux(row_end, 0, place + 1))
        with m.If(row_end & ~item["value"]):
            m.d.sync += row.eq(Mux(group_end, 0, row + 1))
        with m.If(group_end):
            m.d.sync += group.eq(group + 1)
        with m.If(end):
            m.d.sync += [active.eq(0), group.eq(0)]
        with m.If(self.i.ready & self.i.valid):
            watch(m, platform, self.i.payload.groups != 0, "an item without groups")
            m.d.sync += [item.eq(self.i.payload), active.eq(1), at_scales.eq(~self.i.payload["value"])]
            if config.candidates:
                with m.If(self.rows == HeadRows.RESCORED):
                    m.d.sync += at_scales.eq(0)
        m.d.sync += [
            self.scales.valid.eq(taken & at_scales),
            self.scales.bank.eq(item.bank),
            self.scales.group.eq(group),
            self.tag.valid.eq(dots),
            self.tag["value"].eq(item["value"]),
            self.tag.bank.eq(item.bank),
            self.tag.index.eq(Mux(item["value"], place, in_block)),
            self.tag.first.eq(group == 0),
            self.tag.last.eq(row_end),
            self.tag.end.eq(end),
        ]
        if config.candidates:
            one_of_two = self.head & ((self.rows == HeadRows.DITHER) | (self.rows == HeadRows.RESCORED))
            both = self.head & (self.rows == HeadRows.HIGH)
            m.d.sync += self.tag.added.eq(Mux(both, 0b11, Mux(one_of_two & place[0], 0b10, 0b01)))
        return m

    def _rows(self, place: Value) -> tuple[Value, Value, Value | int]:
        """Of rows of the LM head: beats of a row, the word of the activations that a beat meets, and the last row of a
        group on a port."""
        last = 2 * self.config.kv_pairs - 1
        if not self.config.candidates:
            return self.head_beats, place, last
        high, rescored = self.rows == HeadRows.HIGH, self.rows == HeadRows.RESCORED
        halved = (self.rows == HeadRows.DITHER) | rescored
        beats = Mux(high, (self.head_beats + 1) >> 1, self.head_beats)
        return beats, Mux(halved, place >> 1, place), Mux(rescored, 0, last)
