"""The part of the array that belongs to one token: activation memory, accumulators and results of a column.

Columns form a chain: each column passes control and weights to the next one a clock later, so that no wire is longer
than one column.
"""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.array.negative_counts import array_weights, negative_counts
from hw.array.ternary_dot import TernaryDot
from hw.bound import bounded
from hw.contract.config import AccelConfig
from hw.delay import delayed
from hw.streams import Queue
from hw.watch import watch_fifo, watch_range, watch_stream

__all__ = ["ACTIVATION_READ_LATENCY", "OUTPUT_BLOCKS", "ArrayColumn", "activation_write", "array_control"]

ACTIVATION_READ_LATENCY = 2
"""Clocks from an address to its activations (memory, then a register). Control leads the weights by as many."""

OUTPUT_BLOCKS = 4
"""Row blocks of finished sums that a column can store."""


def array_control(config: AccelConfig) -> data.StructLayout:
    """Control of one beat: whether it is valid, the first or last of its row block, and its word of activations."""
    return data.StructLayout({
        "valid": 1,
        "first": 1,
        "last": 1,
        "address": range(max(2, config.activation_words)),
    })


def activation_write(config: AccelConfig) -> data.StructLayout:
    """A word of activations for one column."""
    return data.StructLayout({
        "column": config.column_bits,
        "address": range(max(2, config.activation_words)),
        "values": data.ArrayLayout(signed(8), config.inputs),
    })


class ArrayColumn(wiring.Component):
    """Computes R dot products per clock with the activations of one token.

        i_control -> activation memory --+
                                         v
        i_weights ------------------> R x TernaryDot -> R accumulators -> OUTPUT_BLOCKS row blocks -> o
            |
            +-> one register -> o_control, o_weights, o_negatives of the next column

    Rules: the column never stalls. The caller starts a row block only if the column can store one more
    (`OUTPUT_BLOCKS`).

    Latency: control and weights leave one clock after they come. Throughput: one beat per clock.

    Members:
        i_write, i_write_en: a word of activations; the field `column` is ignored.
        i_enabled: results of this column are wanted; steady during a command.
        i_control: control of a beat.
        i_weights: the weights of that beat, `ACTIVATION_READ_LATENCY` clocks after its control.
        i_negatives: what `NegativeCounts` makes of these weights.
        o_control, o_weights, o_negatives: `i_control`, `i_weights` and `i_negatives`, one clock later.
        o: finished sums, V rows at a time, R/V words per row block.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        self.dots = [TernaryDot(config.inputs) for _ in range(config.rows)]
        super().__init__({
            "i_write": In(activation_write(config)),
            "i_write_en": In(1),
            "i_enabled": In(1),
            "i_control": In(array_control(config)),
            "i_weights": In(array_weights(config)),
            "i_negatives": In(negative_counts(config)),
            "o_control": Out(array_control(config)),
            "o_weights": Out(array_weights(config)),
            "o_negatives": Out(negative_counts(config)),
            "o": Out(stream.Signature(data.ArrayLayout(signed(config.accumulator_bits), config.vector))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        watch_stream(m, platform, self.o, "o")
        config = self.config
        m.d.sync += [
            self.o_control.eq(self.i_control), self.o_weights.eq(self.i_weights), self.o_negatives.eq(self.i_negatives),
        ]

        # Activations: memory, then a register, because a block RAM alone leaves no time for the first adder.
        values = data.ArrayLayout(signed(8), config.inputs)
        m.submodules.activations = activations = memory.Memory(shape=values, depth=config.activation_words, init=[])
        write, read = activations.write_port(), activations.read_port()
        word = Signal(values)
        m.d.comb += [
            write.addr.eq(self.i_write.address),
            write.data.eq(self.i_write.values),
            write.en.eq(self.i_write_en),
            read.addr.eq(self.i_control.address),
            read.en.eq(1),
        ]
        m.d.sync += word.eq(read.data)

        # The flags travel beside the data: {valid, first, last}, one bit of each per clock of delay.
        flags = delayed(m, self.i_control.as_value()[:3], ACTIVATION_READ_LATENCY + self.dots[0].latency, name="flags")
        valid, first, last = flags[0], flags[1], flags[2]

        accumulators = Signal(data.ArrayLayout(signed(config.accumulator_bits), config.rows))
        finished = Signal()
        largest = 127 * config.max_k
        bounded(platform, accumulators[0], "accumulator of a BitLinear sum", "127 max_k", largest, -largest)
        m.d.sync += finished.eq(valid & last & self.i_enabled)
        for row, dot in enumerate(self.dots):
            m.submodules[f"dot_{row}"] = dot
            m.d.comb += [
                dot.i_activations.eq(word), dot.i_weights.eq(self.i_weights[row]),
                dot.i_negatives.eq(self.i_negatives[row]),
            ]
            with m.If(valid):
                total = Mux(first, 0, accumulators[row]) + dot.o
                m.d.sync += accumulators[row].eq(total)
            with m.If(valid & self.i_enabled):
                watch_range(m, platform, total, largest, "a sum")

        words = config.rows // config.vector
        block = data.ArrayLayout(self.o.payload.shape(), words)
        m.submodules.results = results = Queue(block, OUTPUT_BLOCKS)
        m.d.comb += [results.i.payload.eq(accumulators.as_value()), results.i.valid.eq(finished)]
        watch_fifo(m, platform, results.i, "the FIFO of finished sums")

        counter = Signal(range(max(2, words)))
        m.d.comb += [
            self.o.payload.eq(results.o.payload[counter]),
            self.o.valid.eq(results.o.valid),
            results.o.ready.eq(self.o.ready & (counter == words - 1)),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += counter.eq(Mux(counter == words - 1, 0, counter + 1))
        return m
