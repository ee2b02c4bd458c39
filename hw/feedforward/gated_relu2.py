"""The gated activation of the feed-forward network."""

from __future__ import annotations

from amaranth.hdl import Cat, EnableInserter, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.payloads import column_values, vector_word
from hw.delay import delayed
from hw.float.mul import FloatMul
from hw.float.rounding import sign_bit
from hw.memory.scratchpad import scratchpad_address, scratchpad_read
from hw.watch import watch_stream

__all__ = ["GatedRelu2"]

_FETCH = 3
"""Clocks from an accepted word to the stored one: address register, memory, register."""


class GatedRelu2(wiring.Component):
    """Computes o = (g * g) * up with g = max(gate, 0), with two roundings (docs/numerics.md, section 6).

        i (up) ----------------> delay ---------+
        |                                       v
        +-> read of the gate -> relu -> g * g -> * -> o

    The gate of a word is stored in the same column, at word `base` + index.

    Rules: the caller writes `o` to the place of the gate. A word must not be accepted again before that write. A word
    that is not accepted at `o` stops the whole pipeline.

    Latency: `LATENCY` clocks. Throughput: one word per clock.

    Members:
        base: first word of the gate in the column, with base + index < column_words; steady while words are accepted.
        i: words of the up projection.
        o: the same words of the product.
        read: read port of the scratchpad; it must be granted in every clock.
    """

    LATENCY = _FETCH + 2 * FloatMul.LATENCY

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "base": In(config.word_bits),
            "i": In(stream.Signature(vector_word(config))),
            "o": Out(stream.Signature(vector_word(config))),
            "read": Out(scratchpad_read(config)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        watch_stream(m, platform, self.o, "o")
        config = self.config
        word = self.i.payload
        advance, fetch = Signal(), Signal()
        m.d.comb += [advance.eq(~self.o.valid | self.o.ready), self.i.ready.eq(advance)]

        address = scratchpad_address(m, config, column=word.column, word=self.base + word.index)
        place = Cat(self.i.valid, word.column, word.index)
        with m.If(advance):
            m.d.sync += [fetch.eq(self.i.valid), self.read.addr.eq(address)]
            up = delayed(m, word.values.as_value(), _FETCH + FloatMul.LATENCY, name="up")
            place = delayed(m, place, self.LATENCY, name="place")
            stored = delayed(m, self.read.data, 1, name="stored")
        m.d.comb += [
            self.read.en.eq(advance & fetch),
            Cat(self.o.valid, self.o.payload.column, self.o.payload.index).eq(place),
        ]

        factors = data.View(column_values(config), up)
        for lane in range(config.vector):
            square, gated = FloatMul(), FloatMul()
            m.submodules[f"square_{lane}"] = EnableInserter(advance)(square)
            m.submodules[f"gated_{lane}"] = EnableInserter(advance)(gated)
            gate = stored[lane]
            open_gate = Mux(sign_bit(gate), 0, gate)
            m.d.comb += [
                square.a.eq(open_gate),
                square.b.eq(open_gate),
                gated.a.eq(square.o),
                gated.b.eq(factors[lane]),
                self.o.payload.values[lane].eq(gated.o),
            ]
        return m
