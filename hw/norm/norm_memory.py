"""Memory for the weights of one norm."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.bound import bounded
from hw.contract.config import AccelConfig, ceil_div
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import quantize_values, stream_beat

__all__ = ["NormMemory", "norm_read", "row_weights"]

BF16_BITS = 16

FEWEST_ROWS = 128
"""A memory of fewer rows would use block RAMs that are mostly empty."""


def row_weights(config: AccelConfig) -> int:
    """Weights in a row of the memory: those of a beat, or as many of them as leave it `FEWEST_ROWS`; at least Q."""
    weights = config.stream_bytes * 8 // BF16_BITS
    while weights > config.quantize_lanes and ceil_div(config.max_k, weights) < FEWEST_ROWS:
        weights //= 2
    return weights


def norm_read(config: AccelConfig) -> wiring.Signature:
    """A read port, seen from the reader: `data` of `addr` one clock after `en`; it holds while `en` is low.

    `addr` counts words of V weights. Where Q is 2 V, the upper half of `data` belongs to the next word, if `addr` is
    even.
    """
    return wiring.Signature({
        "en": Out(1),
        "addr": Out(range(max(2, config.norm_words))),
        "data": In(quantize_values(config)),
    })


class NormMemory(wiring.Component):
    """Stores bf16 weights from the payload of LOAD_NORM, and reads them as machine floats.

    A beat has stream_bytes / 2 weights, element 0 in the lowest bytes. It is written as a row of the memory, or as
    several of them (`row_weights`); a word of V weights is selected from the row that is read. A bf16 becomes a machine
    float by appending zeros; a zero exponent reads as 0, as do weights from `count` on.

    Rules: `start` is not given while the memory loads, and no word is read meanwhile. Only the beats of the payload,
    ceil(count * 2 / stream_bytes), are accepted.

    Cost: one clock per row. A beat is accepted with its last row, so loading takes ceil(count / row_weights) clocks
    from `start` if no beat is late; `done` follows one clock after the last row is written.

    Members:
        start, count: load `count` elements, 1 to max_k.
        i: beats.
        done: high for one clock, when every word can be read.
        read: the read port.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "start": In(1),
            "count": In(range(config.max_k + 1)),
            "i": In(stream.Signature(stream_beat(config))),
            "done": Out(1),
            "read": In(norm_read(config)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        weights = row_weights(config)
        rows_per_beat = config.stream_bytes * 8 // BF16_BITS // weights
        row = data.ArrayLayout(unsigned(BF16_BITS), weights)
        m.submodules.weights = rows = memory.Memory(shape=row, depth=ceil_div(config.max_k, weights), init=[])
        write, read = rows.write_port(), rows.read_port()

        left, count = Signal(range(config.max_k + 1)), Signal(range(config.max_k + 1))
        bounded(platform, left, "norm weights left", "max_k", config.max_k)
        part = Signal(range(max(2, rows_per_beat)))
        final = Signal()
        parts = data.View(data.ArrayLayout(row, rows_per_beat), self.i.payload.as_value())
        m.d.comb += [
            final.eq(left <= weights),
            write.en.eq((left != 0) & self.i.valid),
            write.data.eq(parts[part]),
            self.i.ready.eq((left != 0) & (final | (part == rows_per_beat - 1))),
        ]

        m.d.sync += self.done.eq(0)
        with m.If(self.start):
            m.d.sync += [left.eq(self.count), count.eq(self.count), write.addr.eq(0), part.eq(0)]
        with m.Elif(write.en):
            m.d.sync += [
                left.eq(Mux(final, 0, left - weights)),
                write.addr.eq(write.addr + 1),
                part.eq(Mux(part == rows_per_beat - 1, 0, part + 1)),
                self.done.eq(final),
            ]

        # The row of a word, and a clock later the word in the row, with the word behind it.
        lanes = config.vector
        words = data.View(data.ArrayLayout(data.ArrayLayout(unsigned(BF16_BITS), lanes), weights // lanes),
                          read.data.as_value())
        shift = exact_log2(len(words))
        word = Signal(range(max(2, len(words))))
        chosen = Signal(data.ArrayLayout(words.shape().elem_shape, config.quantize_lanes // lanes))
        inside = Signal(config.quantize_lanes)
        m.d.comb += [
            read.en.eq(self.read.en),
            read.addr.eq(self.read.addr >> shift),
            *(chosen[n].eq(words[word | n]) for n in range(len(chosen))),
        ]
        with m.If(self.read.en):
            m.d.sync += word.eq(self.read.addr[:shift])
            m.d.sync += inside.eq(Cat(self.read.addr * lanes + lane < count for lane in range(config.quantize_lanes)))
        for lane in range(config.quantize_lanes):
            bits = chosen[lane // lanes][lane % lanes]
            zero = ~inside[lane] | ~bits[7:15].any()
            m.d.comb += self.read.data[lane].eq(Mux(zero, 0, Cat(Const(0, FLOAT_BITS - BF16_BITS), bits)))
        return m
