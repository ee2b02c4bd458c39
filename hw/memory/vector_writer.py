"""The writer of the scratchpad, for the results of embedding, matmuls and attention."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.bound import bounded
from hw.contract.config import AccelConfig
from hw.contract.payloads import vector_word
from hw.memory.scratchpad import scratchpad_address, scratchpad_write
from hw.watch import watch, watch_stream

__all__ = ["VectorWriter"]


class VectorWriter(wiring.Component):
    """Writes each word at `base` + index of its column, and passes it on to the statistics.

    Rules: a word is written in the clock in which it is accepted at `o`, so a stall never writes twice. If `watch` is
    low, no word is offered on `o`, and one word is accepted per clock. Words from `words` on, which are the zeros of
    rows that pad a row block, are written but not offered on `o`.

    Latency: none, the write port is driven combinationally; the word is in memory after the clock.

    Members:
        base: first word of the vector in the column; steady while words move.
        words: length of the vector in words.
        watch: the vector is the input of a norm.
        i: vector_word.
        o: the same words, for NormStatistics.
        write: the write port of the scratchpad.
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
        address = scratchpad_address(m, self.config, column=word.column, word=at)
        bounded(platform, word.index, "word of a column", "column_words - 1", self.config.column_words - 1)
        bounded(platform, at, "word of a column", "column_words - 1", self.config.column_words - 1)
        bounded(platform, address, "word of the scratchpad", "T column_words - 1",
                self.config.columns * self.config.column_words - 1)
        m.d.comb += [
            watched.eq(self.watch & (word.index < self.words)),
            self.o.payload.eq(word),
            self.o.valid.eq(self.i.valid & watched),
            self.i.ready.eq(~watched | self.o.ready),
            at.eq(self.base + word.index),
            self.write.en.eq(self.i.valid & self.i.ready),
            self.write.addr.eq(address),
            self.write.data.eq(word.values),
        ]
        with m.If(self.write.en):
            watch(m, platform, self.base + word.index < self.config.column_words, "a column has no word {}", at)
        return m
