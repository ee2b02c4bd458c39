"""Sums of dot products over the beats of a key or of a row of the LM head, in two banks of a block each."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.bound import bounded
from hw.contract.config import BLOCK_POSITIONS, AccelConfig
from hw.dot.banks import banked_memory
from hw.dot.block_player import BLOCK_DONE, dot_tag
from hw.dot.interfaces import ACTIVATION_BITS, OPERAND_BITS, key_sum_bits
from hw.dot.read_ports import score_sums_read

__all__ = ["ScoreSums"]


class ScoreSums(wiring.Component):
    """Adds up the D P dot products of the beats of P keys, and keeps the sums of two blocks.

    A row of the LM head is a key here. The sum of row 0 is that of the rows of operands which the tag names, for a
    split head.

    Rules: all dots are taken. Whoever reads a bank has seen `done` of it, and no keys of that bank have been played
    since. Sums of positions that were not played are old or arbitrary.

    Latency: the sums of a beat with `last` are in place, and `done` is given, a clock after its dots; a read takes
    READ_LATENCY clocks. Throughput: dots of a beat and a read per clock. Memory: 2 * 64 / P words of D P sums.

    Args:
        dots: shape of the dots, from `RowDots`.

    Members:
        tag: dot_tag of the dots.
        dots: for each row those of P ports.
        read: score_sums_read.
        done: BLOCK_DONE; the bank, when the last sum of its block is in place.
    """

    def __init__(self, config: AccelConfig, dots: data.ArrayLayout) -> None:
        self.config = config
        super().__init__({
            "tag": In(dot_tag(config)),
            "dots": In(dots),
            "read": In(score_sums_read(config)),
            "done": Out(BLOCK_DONE),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, bits = self.config, key_sum_bits(self.config)
        groups = exact_log2(BLOCK_POSITIONS // config.ports)
        word = data.ArrayLayout(data.ArrayLayout(signed(bits), config.ports), config.query_rows)
        m.submodules.sums = sums = banked_memory(word, 2 << groups)
        write, read = sums.write_port(), sums.read_port()
        tag, taken = self.tag, Signal()
        m.d.comb += [
            taken.eq(tag.valid & ~tag["value"]),
            write.en.eq(taken & tag.last),
            write.addr.eq(Cat(tag.index[:groups], tag.bank)),
        ]
        m.d.sync += [self.done.valid.eq(taken & tag.end), self.done.bank.eq(tag.bank)]
        kept = Signal(word)  # of the beats before; zero between keys
        for row in range(config.query_rows):
            for port in range(config.ports):
                dot = self.dots[row][port]
                if config.candidates and row == 0:
                    dot = Mux(tag.added[0], dot, 0) + Mux(tag.added[1], self.dots[1][port], 0)
                m.d.comb += write.data[row][port].eq(dot + kept[row][port])
        with m.If(taken):
            m.d.sync += kept.eq(write.data)
        with m.If(write.en):  # not inside the other, so that it becomes the reset of the registers
            m.d.sync += kept.eq(0)
        scores = (2 ** (OPERAND_BITS - 1) - 1) * (2 ** (config.kv_bits - 1) - 1) * config.max_head_dim
        logits = (2 ** (ACTIVATION_BITS - 1) - 1) * 127 * config.max_hidden
        for value, what in ((kept[0][0], "accumulator of a score or logit"), (self.read.sums[0], "score or logit dot")):
            largest = max(scores, logits)
            bounded(platform, value, what, "131071 L max_head_dim or 32767 * 127 max_hidden", largest, -largest)

        port_bits = exact_log2(config.ports)
        m.d.comb += read.addr.eq(Cat(self.read.position[port_bits:], self.read.bank))
        chosen = Signal(max(1, port_bits + len(self.read.set)))
        m.d.sync += chosen.eq(Cat(self.read.position[:port_bits], self.read.set))
        for lane in range(config.softmax_lanes):
            rows = range(lane, config.query_rows, config.softmax_lanes)
            choices = Array(read.data[row][n] for row in rows for n in range(config.ports))
            m.d.sync += self.read.sums[lane].eq(choices[chosen])
        return m
