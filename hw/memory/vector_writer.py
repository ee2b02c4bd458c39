"""Puts vector words into the scratchpad. This file is the one writer: embedding, matmuls and attention end here."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.payloads import vector_word
from hw.memory.scratchpad import scratchpad_address, scratchpad_write
from hw.watch import watch, watch_stream

__all__ = ["VectorWriter"]


class VectorWriter(wiring.Component):
    """Writes each word at `base + index` of its column and passes it on to the statistics.

    Rules: a word is written in the clock in which it is accepted downstream, so a stall never writes twice. With
    `watch` low nothing is offered on `o` and words are taken every clock. Sums beyond the vector's end (rows that pad a
    row block) are zero by construction; words from `words` on are written but not offered to the statistics.

    Latency: none; the write port is driven combinationally, the word is in memory after the clock.

    Members:
        base: word of the column where the vector starts; steady while words move.
        words: length of the vector in words.
        watch: whether the vector is the input of a norm.
        i: vector_word.
        o: the same words, for NormStatistics.
        write: the scratchpad's write port.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "base": In(config.word_bits),
            "words": In(config.word_bits + 1),
            "watch": In(1),
            "i": In(stream.Signature(vector_word(config))),
            "o": Out(stream.Signature(vector_word(config))),
            "write": Out(scratchpad_write(config)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        watch_stream(m, platform, self.o, "o")
        word = self.i.payload
        watched = Signal()
        at = Signal(self.config.word_bits)
        m.d.comb += [
            watched.eq(self.watch & (word.index < self.words)),
            self.o.payload.eq(word),
            self.o.valid.eq(self.i.valid & watched),
            self.i.ready.eq(~watched | self.o.ready),
            at.eq(self.base + word.index),
            self.write.en.eq(self.i.valid & self.i.ready),
            self.write.addr.eq(scratchpad_address(m, self.config, column=word.column, word=at)),
            self.write.data.eq(word.values),
        ]
        with m.If(self.write.en):
            watch(m, platform, self.base + word.index < self.config.column_words, "a column has no word {}", at)
        return m
