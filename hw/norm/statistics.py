"""Sums of squares and absolute maxima of vectors, per column, while they are written."""

from __future__ import annotations

from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.contract.config import SUM_PARTIALS, AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import column_values, vector_word
from hw.float.add import FloatAdd
from hw.float.compare import magnitude
from hw.float.mul import FloatMul
from hw.norm.norm_memory import norm_read
from hw.watch import watch_stream

__all__ = ["NormStatistics", "statistics_result"]

NORM_READ_LATENCY = 1
_PRODUCT = NORM_READ_LATENCY + FloatMul.LATENCY
"""Clocks from taking a word to its squares and products."""
_WRITE = _PRODUCT + FloatAdd.LATENCY
"""Clocks from taking a word to writing its partial sums back."""
_BUSY = FloatAdd.LATENCY
"""A partial is in flight this many clocks after the word that uses it: a read sees what is written in its own clock."""


def statistics_result(config: AccelConfig) -> data.StructLayout:
    """Of one column: sum of squares and max |x * g|, machine floats."""
    return data.StructLayout({"column": config.column_bits, "square_sum": FLOAT_BITS, "absmax": FLOAT_BITS})


class NormStatistics(wiring.Component):
    """Adds sixteen interleaved partial sums of x * x, and finds the maximum of |x * g|, for every column.

    A column is finished on request: its partial sums are added in place by the tree of docs/numerics.md, and the column
    is cleared.

    Rules: the words of a column come in ascending order, columns in any order. Lanes beyond the end of a vector hold 0.
    A word whose partial sums are still in flight waits; this does not happen if the words ascend without gaps. While a
    request waits or is under way, no word is accepted; words that were accepted before it are part of its result.

    Latency: a request is accepted when no word is in flight, at the earliest 8 clocks after the last word; `o` is valid
    `finish_latency` clocks later. Throughput: one word per clock.

    Members:
        clear: forget all words, also those in flight; not while a column is being finished.
        i: words as they are written to the scratchpad.
        norm: read port of the norm weights, at index; V of them are used.
        i_finish: a column that is complete.
        o: the statistics of that column.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "clear": In(1),
            "i": In(stream.Signature(vector_word(config))),
            "norm": Out(norm_read(config)),
            "i_finish": In(stream.Signature(config.column_bits)),
            "o": Out(stream.Signature(statistics_result(config))),
        })

    @property
    def finish_latency(self) -> int:
        """Clocks from taking a request to its valid result."""
        words = SUM_PARTIALS // self.config.vector
        add = 1 + FloatAdd.LATENCY
        return 1 + (words - 1) * (3 + add) + exact_log2(self.config.vector) * add

    def elaborate(self, platform: object) -> Module:
        m = Module()
        watch_stream(m, platform, self.o, "o")
        config = self.config
        lanes = config.vector
        words = SUM_PARTIALS // lanes
        word_bits = exact_log2(words)
        slot_bits = config.column_bits + word_bits
        floats = column_values(config)

        # A slot is a word of V partials of a column. `known` tells which hold a sum; the others count as 0.
        m.submodules.partials = partials = memory.Memory(shape=floats, depth=1 << slot_bits, init=[])
        write = partials.write_port()
        read = partials.read_port(transparent_for=(write,))
        known = Signal(data.ArrayLayout(words, 1 << config.column_bits))
        m.d.comb += read.en.eq(1)

        # Words in flight: flight[n] holds what was taken n + 1 clocks ago.
        mark = data.StructLayout({"valid": 1, "slot": slot_bits, "fresh": 1})
        flight = [Signal(mark, name=f"flight_{n + 1}") for n in range(_WRITE)]
        slot = Cat(self.i.payload.index[:word_bits], self.i.payload.column)
        taken, conflict, waiting, finishing = Signal(), Signal(), Signal(), Signal()
        x = Signal(floats)
        m.d.comb += [
            conflict.eq(Cat((f.valid & (f.slot == slot)) for f in flight[:_BUSY]).any()),
            waiting.eq(Cat(f.valid for f in flight).any()),
            self.i.ready.eq(~conflict & ~self.clear & ~self.i_finish.valid & ~finishing),
            taken.eq(self.i.valid & self.i.ready),
            self.norm.en.eq(taken),
            self.norm.addr.eq(self.i.payload.index),
        ]
        m.d.sync += [x.eq(self.i.payload.values), flight[0].valid.eq(taken)]
        m.d.sync += [flight[0].slot.eq(slot), flight[0].fresh.eq(~known.as_value().bit_select(slot, 1))]
        for before, after in pairwise(flight):
            m.d.sync += [after.eq(before), after.valid.eq(before.valid & ~self.clear)]
        with m.If(taken):
            m.d.sync += known.as_value().bit_select(slot, 1).eq(1)
        with m.If(self.clear):
            m.d.sync += known.as_value().eq(0)

        # Arithmetic. The adders serve the words in flight, and the tree while a column is finished.
        tree_sum, tree_left, tree_right = Signal(), Signal(floats), Signal(floats)
        sums, tops = Signal(floats), []
        for lane in range(lanes):
            square, product, add = FloatMul(), FloatMul(), FloatAdd()
            m.submodules[f"square_{lane}"] = square
            m.submodules[f"product_{lane}"] = product
            m.submodules[f"add_{lane}"] = add
            old = Mux(flight[_PRODUCT - 1].fresh, 0, read.data[lane])
            m.d.comb += [
                square.a.eq(x[lane]),
                square.b.eq(x[lane]),
                product.a.eq(x[lane]),
                product.b.eq(self.norm.data[lane]),
                add.a.eq(Mux(tree_sum, tree_left[lane], old)),
                add.b.eq(Mux(tree_sum, tree_right[lane], square.o)),
                sums[lane].eq(add.o),
            ]
            tops.append(magnitude(product.o))
        m.d.comb += [
            read.addr.eq(flight[_PRODUCT - 2].slot),
            write.addr.eq(flight[_WRITE - 1].slot),
            write.en.eq(flight[_WRITE - 1].valid),
            write.data.eq(sums),
        ]

        top = Signal(FLOAT_BITS - 1)
        while len(tops) > 1:
            tops = [Mux(a > b, a, b) for a, b in zip(tops[::2], tops[1::2], strict=True)]
        m.d.sync += top.eq(tops[0])
        absmax = Signal(data.ArrayLayout(FLOAT_BITS - 1, 1 << config.column_bits))
        top_column = flight[_PRODUCT].slot[word_bits:]
        with m.If(flight[_PRODUCT].valid & (top > absmax[top_column])):
            m.d.sync += absmax[top_column].eq(top)
        with m.If(self.clear):
            m.d.sync += absmax.as_value().eq(0)

        self._finish(m, finishing=finishing, waiting=waiting, known=known, absmax=absmax, read=read, write=write,
                     sums=sums, tree=(tree_sum, tree_left, tree_right))
        return m

    def _finish(self, m: Module, *, finishing: Signal, waiting: Signal, known: data.View, absmax: data.View,
                read: memory.ReadPort, write: memory.WritePort, sums: data.View,
                tree: tuple[Signal, data.View, data.View]) -> None:
        """The tree of one column: slot word + stride is added to slot word, for falling strides; lanes likewise."""
        lanes = self.config.vector
        words = SUM_PARTIALS // lanes
        word_bits = exact_log2(words)
        tree_sum, left, right = tree
        column = Signal(self.config.column_bits)
        stride, word = Signal(word_bits), Signal(word_bits)
        lane_stride = Signal(range(max(2, lanes)))
        address = Signal.like(read.addr)
        known_read = Signal()
        clocks = Signal(range(FloatAdd.LATENCY + 1))
        fetched = [Mux(known_read, read.data[lane], 0) for lane in range(lanes)]

        m.d.sync += known_read.eq(known.as_value().bit_select(address, 1))
        m.d.comb += address.eq(Cat(word, column))
        with m.If(finishing):
            m.d.comb += read.addr.eq(address)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        with m.FSM() as fsm:
            m.d.comb += finishing.eq(~fsm.ongoing("IDLE"))
            m.d.sync += tree_sum.eq(finishing)  # no word is in flight when it begins, or comes that soon behind it
            with m.State("IDLE"):
                m.d.comb += self.i_finish.ready.eq(~waiting & ~self.o.valid & ~self.clear)
                m.d.sync += [
                    column.eq(self.i_finish.payload),
                    stride.eq(words // 2),
                    word.eq(0),
                    lane_stride.eq(lanes // 2),
                ]
                with m.If(self.i_finish.valid & self.i_finish.ready):
                    m.next = "UPPER"
            with m.State("UPPER"):
                m.d.comb += address.eq(Cat(word | stride, column))
                m.next = "LOWER"
            with m.State("LOWER"):
                m.d.sync += [right[lane].eq(value) for lane, value in enumerate(fetched)]
                m.next = "FETCHED"
            with m.State("FETCHED"):
                m.d.sync += [left[lane].eq(value) for lane, value in enumerate(fetched)]
                m.d.sync += clocks.eq(0)
                m.next = "ADD"
            with m.State("ADD"):
                m.d.sync += clocks.eq(clocks + 1)
                with m.If(clocks == FloatAdd.LATENCY):
                    with m.If(stride > 1):
                        m.d.comb += [write.en.eq(1), write.addr.eq(address)]
                        m.d.sync += [known.as_value().bit_select(address, 1).eq(1), word.eq(word + 1)]
                        with m.If(word == stride - 1):
                            m.d.sync += [word.eq(0), stride.eq(stride >> 1)]
                        m.next = "UPPER"
                    with m.Elif(lane_stride != 0):
                        m.d.sync += [left.eq(sums), stride.eq(0), lane_stride.eq(lane_stride >> 1), clocks.eq(0)]
                        for step in (2, 1):
                            with m.If(lane_stride == step):
                                m.d.sync += [right[n].eq(sums[n + step]) for n in range(lanes - step)]
                    with m.Else():
                        m.d.sync += [
                            self.o.valid.eq(1),
                            self.o.payload.column.eq(column),
                            self.o.payload.square_sum.eq(sums[0]),
                            self.o.payload.absmax.eq(absmax[column]),
                            known[column].eq(0),
                            absmax[column].eq(0),
                        ]
                        m.next = "IDLE"
