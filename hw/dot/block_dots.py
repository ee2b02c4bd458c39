"""The dot products of attention and of the LM head: beats in, the sums of whole blocks out."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import EnableInserter, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from hw.contract.config import AccelConfig
from hw.dot.block_player import BlockPlayer, dot_tag
from hw.dot.clients import attention_dots, head_dots
from hw.dot.interfaces import OPERAND_BITS, HeadRows, activation_word
from hw.dot.operands import Operands
from hw.dot.row_dots import RowDots
from hw.dot.scale_store import ScaleStore
from hw.dot.score_sums import ScoreSums
from hw.dot.value_sums import ValueSums
from hw.streams import select

__all__ = ["BlockDots"]


class BlockDots(wiring.Component):
    """Multiplies the beats of a block with the operands of D rows: keys with queries, values with softmax weights, rows
    of the LM head with the activations of up to D columns.

    All are dot products along a beat, since memory has the values transposed (`KvLayout`) and the LM head in the order
    of keys (`HeadLayout`), and go through the same D P E multipliers. So the LM head needs no multipliers of its own,
    and up to D columns share its beats.

    Rules: an item is given when the operands that it meets have been taken, and when the sums of its bank, and for keys
    the scales, have been read. Nothing behind the beats waits. Positions beyond the context may hold any bytes. The
    LM head and attention do not work at the same time.

    Latency: `done_latency` clocks from the last beat of an item to `keys_done` or `values_done`; then the sums may be
    read, each `READ_LATENCY` clocks after its address. Throughput: one beat of every port per clock, also from item to
    item.

    Members:
        attention: attention_dots.
        head: head_dots.
        i_activations: activation_word.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        self._dots = RowDots(config, operand_bits=OPERAND_BITS, tag=dot_tag(config))
        super().__init__({
            "attention": In(attention_dots(config)),
            "head": In(head_dots(config)),
            "i_activations": In(stream.Signature(activation_word(config), always_ready=True)),
        })

    @property
    def done_latency(self) -> int:
        """Clocks from the last beat of an item until its sums may be read."""
        return self._dots.latency + 2

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, flipped, connect = self.config, wiring.flipped, wiring.connect
        attention, head, dots = self.attention, self.head, self._dots
        m.submodules.operands = operands = Operands(config)
        m.submodules.player = player = BlockPlayer(config)
        m.submodules.dots = EnableInserter(self._moving(m, player, dots.latency))(dots)
        m.submodules.score_sums = score_sums = ScoreSums(config, dots.dots.shape())
        m.submodules.value_sums = value_sums = ValueSums(config, dots.dots.shape())
        m.submodules.scale_store = scale_store = ScaleStore(config)
        connect(m, flipped(attention.query), operands.i_query)
        connect(m, flipped(attention.weights), operands.i_weights)
        connect(m, flipped(self.i_activations), operands.i_activations)
        connect(m, flipped(attention.values), value_sums.read)
        for name, to in (("item", player.i), ("beats", player.i_beats)):
            select(m, platform, [(~head.active, getattr(attention, name)), (head.active, getattr(head, name))], to)
        self._shared_read(m, attention.scores, head.sums, score_sums.read, results=("sums",))
        self._shared_read(m, attention.scales, head.scales, scale_store.read, results=("key", "value"))
        m.d.comb += [
            player.shape.eq(attention.shape),
            player.head.eq(head.active),
            player.head_beats.eq(head.row_beats),
            operands.address.eq(player.address),
            dots.operands.eq(operands.operands),
            dots.beat.eq(player.beat),
            dots.head.eq(head.active),
            *self._split(operands, player, dots),
            dots.tag.eq(player.tag),
            score_sums.tag.eq(dots.done),
            score_sums.dots.eq(dots.dots),
            value_sums.coming.eq(dots.coming),
            value_sums.tag.eq(dots.done),
            value_sums.dots.eq(dots.dots),
            scale_store.tag.eq(player.scales),
            scale_store.beat.eq(player.beat),
            attention.keys_done.valid.eq(score_sums.done.valid & ~head.active),
            attention.keys_done.bank.eq(score_sums.done.bank),
            attention.values_done.eq(value_sums.done),
            head.done.valid.eq(score_sums.done.valid & head.active),
            head.done.bank.eq(score_sums.done.bank),
        ]
        return m

    def _split(self, operands: Operands, player: BlockPlayer, dots: RowDots) -> list[Any]:
        """What the rows of the LM head are, on a machine with a split head."""
        if not self.config.candidates:
            return []
        rows = self.head.rows
        high = self.head.active & (rows == HeadRows.HIGH)
        return [operands.split.eq(rows != HeadRows.INT8), player.rows.eq(rows), dots.high.eq(high)]

    def _shared_read(self, m: Module, attention: Any, head: Any, port: Any, *, results: tuple[str, ...]) -> None:
        """Addresses from the one that works; what is read, to both."""
        for name in port.signature.members:
            if name in results:
                m.d.comb += [getattr(client, name).eq(getattr(port, name)) for client in (attention, head)]
            else:
                chosen = Mux(self.head.active, getattr(head, name), getattr(attention, name))
                m.d.comb += getattr(port, name).eq(chosen)

    def _moving(self, m: Module, player: BlockPlayer, latency: int) -> Value:
        """Whether a beat is anywhere in the dot products. They stand still otherwise, which saves power, and most of
        the time of a simulation."""
        clocks = Signal(range(latency + 2), name="clocks_to_move")
        with m.If(player.tag.valid):
            m.d.sync += clocks.eq(latency + 1)
        with m.Elif(clocks != 0):
            m.d.sync += clocks.eq(clocks - 1)
        return (clocks != 0) | player.tag.valid
