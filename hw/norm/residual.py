"""Addition of the output of a BitLinear to the residual stream."""

from __future__ import annotations

from amaranth.hdl import Cat, EnableInserter, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.payloads import column_values, vector_word
from hw.delay import delayed
from hw.float.add import FloatAdd
from hw.memory.scratchpad import scratchpad_address, scratchpad_read
from hw.watch import watch_stream

__all__ = ["Residual"]

_FETCH = 3
"""Clocks from an accepted word to the stored one: address register, memory, register."""


class Residual(wiring.Component):
    """Computes o = h + out, with one rounding, where h is the same word of the residual stream (docs/numerics.md,
    section 4).

    Rules: the residual stream starts at word 0 of a column. The caller writes `o` back to it; a word must not be
    accepted again before that write. A word that is not accepted at `o` stops the whole pipeline.

    Latency: `LATENCY` clocks. Throughput: one word per clock.

    Members:
        i: the output of a BitLinear.
        o: the same words of the new residual stream.
        read: read port of the scratchpad; it must be granted in every clock.
    """

    LATENCY = _FETCH + FloatAdd.LATENCY

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
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

        address = scratchpad_address(m, config, column=word.column, word=word.index)
        place = Cat(self.i.valid, word.column, word.index)
        with m.If(advance):
            m.d.sync += [fetch.eq(self.i.valid), self.read.addr.eq(address)]
            out = delayed(m, word.values.as_value(), _FETCH, name="out")
            place = delayed(m, place, self.LATENCY, name="place")
            stored = delayed(m, self.read.data, 1, name="stored")
        m.d.comb += [
            self.read.en.eq(advance & fetch),
            Cat(self.o.valid, self.o.payload.column, self.o.payload.index).eq(place),
        ]

        terms = data.View(column_values(config), out)
        for lane in range(config.vector):
            add = FloatAdd()
            m.submodules[f"add_{lane}"] = EnableInserter(advance)(add)
            m.d.comb += [
                add.a.eq(stored[lane]),
                add.b.eq(terms[lane]),
                self.o.payload.values[lane].eq(add.o),
            ]
        return m
