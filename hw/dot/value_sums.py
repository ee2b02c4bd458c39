"""Sums of the dot products of softmax weights and values over the groups of a block, in two banks of a block each."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, C, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.bound import bounded
from hw.contract.config import BLOCK_POSITIONS, AccelConfig
from hw.contract.kv_layout import KvLayout
from hw.dot.banks import banked_memory
from hw.dot.block_player import BLOCK_DONE, dot_tag
from hw.dot.interfaces import OPERAND_BITS, value_sum_bits
from hw.dot.read_ports import value_sums_read
from hw.watch import ultra_ram

__all__ = ["ValueSums"]


class ValueSums(wiring.Component):
    """Adds up the D P dot products of each value beat over the groups of a block, and keeps the sums of two blocks.

    A sum is read, added to and written again with every group; the first group overwrites. The sum is read while its
    dots are still coming, so that it needs no bypass: a group has at least two beats.

    Rules: all dots are taken. Whoever reads a bank has seen `done` of it, and no values of that bank have been played
    since.

    Latency: the sums of a beat are in place, and `done` is given, a clock after its dots; a read takes READ_LATENCY
    clocks. Throughput: dots of a beat and a read per clock. Memory: D P sums for each beat of two groups, with one
    write port and two read ports; in UltraRAM where the FPGA has it.

    Args:
        dots: shape of the dots, from `RowDots`.

    Members:
        coming: dot_tag of the dots of the next clock.
        tag: dot_tag of the dots.
        dots: for each row those of P ports.
        read: value_sums_read.
        done: BLOCK_DONE; the bank, when the last sum of its block is in place.
    """

    def __init__(self, config: AccelConfig, dots: data.ArrayLayout) -> None:
        self.config = config
        super().__init__({
            "coming": In(dot_tag(config)),
            "tag": In(dot_tag(config)),
            "dots": In(dots),
            "read": In(value_sums_read(config)),
            "done": Out(BLOCK_DONE),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, bits = self.config, value_sum_bits(self.config)
        words = ceil_log2(KvLayout.longest(config).value_group_beats)
        word = data.ArrayLayout(data.ArrayLayout(signed(bits), config.ports), config.query_rows)
        m.submodules.sums = sums = banked_memory(word, 2 << words, **ultra_ram(platform))
        write, before, read = sums.write_port(), sums.read_port(), sums.read_port()

        def address(index: Value, bank: Value) -> Any:
            return Cat((index | C(0, words))[:words], bank)

        tag, taken = self.tag, Signal()
        m.d.comb += [
            taken.eq(tag.valid & tag["value"]),
            before.addr.eq(address(self.coming.index, self.coming.bank)),
            write.addr.eq(address(tag.index, tag.bank)),
            write.en.eq(taken),
            read.addr.eq(address(self.read.word, self.read.bank)),
        ]
        m.d.sync += [self.done.valid.eq(taken & tag.end), self.done.bank.eq(tag.bank)]
        largest = (2 ** (OPERAND_BITS - 1) - 1) * (2 ** (config.kv_bits - 1) - 1) * BLOCK_POSITIONS
        for row in range(config.query_rows):
            for port in range(config.ports):
                total = Signal(signed(bits), name=f"total_{row}_{port}")
                m.d.comb += [
                    total.eq(self.dots[row][port] + Mux(tag.first, 0, before.data[row][port])),
                    write.data[row][port].eq(total),
                ]
                bounded(platform, total, "accumulator of a value dot", "64 * 131071 L", largest, -largest)
        bounded(platform, self.read.sums[0], "value dot", "64 * 131071 L", largest, -largest)

        chosen = Signal.like(self.read.row)
        m.d.sync += [chosen.eq(self.read.row), self.read.sums.eq(Array(read.data)[chosen])]
        return m
