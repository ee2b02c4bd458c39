"""Memory for the weights of one norm."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.bound import bounded
from hw.contract.config import AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import column_values, stream_beat

__all__ = ["NormMemory", "norm_read"]

BF16_BITS = 16


def norm_read(config: AccelConfig) -> wiring.Signature:
    """A read port, seen from the reader: `data` of `addr` one clock after `en`; it holds while `en` is low."""
    return wiring.Signature({
        "en": Out(1),
        "addr": Out(range(max(2, config.norm_words))),
        "data": In(column_values(config)),
    })


class NormMemory(wiring.Component):
    """Stores `norm_words` words of V bf16 from the payload of LOAD_NORM, and reads them as machine floats.

    A beat has stream_bytes / 2 weights, element 0 in the lowest bytes. A bf16 becomes a machine float by appending
    zeros; a zero exponent reads as 0. Lanes of the last word beyond the count are stored as 0.

    Rules: `start` is not given while the memory loads, and no word is read meanwhile. Only the beats of the payload,
    ceil(count * 2 / stream_bytes), are accepted.

    Cost: one clock per word. A beat is accepted with its last word, so loading takes ceil(count / V) clocks from
    `start` if no beat is late; `done` follows one clock after the last word is written.

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
        lanes = config.vector
        words_per_beat = config.stream_bytes // 2 // lanes
        word = data.ArrayLayout(unsigned(BF16_BITS), lanes)
        m.submodules.weights = weights = memory.Memory(shape=word, depth=config.norm_words, init=[])
        write, read = weights.write_port(), weights.read_port()

        left = Signal(range(config.max_k + 1))
        bounded(platform, left, "norm weights left", "max_k", config.max_k)
        address = Signal(range(max(2, config.norm_words)))
        part = Signal(range(max(2, words_per_beat)))
        final = Signal()
        parts = data.View(data.ArrayLayout(word, words_per_beat), self.i.payload.as_value())
        m.d.comb += [
            final.eq(left <= lanes),
            write.en.eq((left != 0) & self.i.valid),
            write.addr.eq(address),
            self.i.ready.eq((left != 0) & (final | (part == words_per_beat - 1))),
        ]
        for lane in range(lanes):
            m.d.comb += write.data[lane].eq(Mux(left > lane, parts[part][lane], 0))

        m.d.sync += self.done.eq(0)
        with m.If(self.start):
            m.d.sync += [left.eq(self.count), address.eq(0), part.eq(0)]
        with m.Elif(write.en):
            m.d.sync += [
                left.eq(Mux(final, 0, left - lanes)),
                address.eq(address + 1),
                part.eq(Mux(part == words_per_beat - 1, 0, part + 1)),
                self.done.eq(final),
            ]

        m.d.comb += [read.en.eq(self.read.en), read.addr.eq(self.read.addr)]
        for lane in range(lanes):
            bits = read.data[lane]
            zero = ~bits[7:15].any()
            m.d.comb += self.read.data[lane].eq(Mux(zero, 0, Cat(Const(0, FLOAT_BITS - BF16_BITS), bits)))
        return m
