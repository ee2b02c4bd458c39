"""Embedding look-up: a row of the table becomes words of the residual stream (golden: sim/golden/embedding.py)."""

from __future__ import annotations

from amaranth.hdl import Cat, EnableInserter, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.bound import bounded
from hw.contract.config import AccelConfig
from hw.contract.machine_float import FLOAT_BITS, FRACTION_BITS
from hw.contract.payloads import beat, column_values, vector_word
from hw.delay import delayed
from hw.float.from_int import IntToFloat
from hw.float.mul import FloatMul
from hw.watch import watch, watch_stream

__all__ = ["EmbeddingRow", "embedding_command"]

BF16_FRACTION = 7


def embedding_command(config: AccelConfig) -> data.StructLayout:
    """Which column the row is for, and how many words of V elements it has."""
    return data.StructLayout({"column": unsigned(config.column_bits), "words": unsigned(config.word_bits + 1)})


class EmbeddingRow(wiring.Component):
    """Unpacks a table row as it lies in memory (`ModelPlan.embed_stride`): bf16, or a row scale and 12- or 8-bit codes.

    bf16 is exact; codes give rnd(code * scale) (docs/numerics.md, section 2).

    Rules: one command per row. The beats of the row follow on `i`, the last one with `last`. Padding behind the last
    element is dropped. The next command is accepted when the last word has left the unpacker.

    Latency: `LATENCY` clocks from a complete word to `o`. Cost: a clock per word of V elements or per beat, whichever
    are more, and per row 4; with codes 2 + `LATENCY`, because the scale stays until the words of the row have left.

    Members:
        i_command: embedding_command.
        i: beats of the row, with `last`.
        o: vector_word, index from 0.
    """

    LATENCY = IntToFloat.LATENCY + FloatMul.LATENCY + 1

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i_command": In(stream.Signature(embedding_command(config))),
            "i": In(stream.Signature(data.StructLayout({"data": beat(config), "last": 1}))),
            "o": Out(stream.Signature(vector_word(config))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        watch_stream(m, platform, self.o, "o")
        config = self.config
        bits = config.embedding_bits
        word_bits = bits * config.vector
        buffer = Signal(config.port_bits + word_bits)
        level = Signal(range(config.port_bits + word_bits + 1))
        command = Signal(embedding_command(config))
        index = Signal(config.word_bits + 1)
        scale = Signal(FLOAT_BITS)
        ended = Signal()

        watch(m, platform, level < config.port_bits + word_bits, "{} bits wait", level)
        bounded(platform, level, "buffered bits of an embedding row", "port_bits + V embedding_bits - 1",
                config.port_bits + word_bits - 1)

        # A word leaves and a beat comes in the same clock, if less than a word is left below the beat.
        advance, offer, leaves = Signal(), Signal(), Signal()
        left, kept = Signal.like(level), Signal.like(buffer)
        stages = Signal(self.LATENCY - 1)
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            leaves.eq(offer & advance),
            left.eq(Mux(leaves, level - word_bits, level)),
            kept.eq(Mux(leaves, buffer >> word_bits, buffer)),
        ]

        with m.FSM():
            with m.State("COMMAND"):
                m.d.comb += self.i_command.ready.eq(1)
                m.d.sync += [command.eq(self.i_command.payload), index.eq(0), level.eq(0), ended.eq(0)]
                with m.If(self.i_command.valid):
                    m.next = "WORDS" if bits == 16 else "SCALE"
            with m.State("SCALE"):
                m.d.comb += self.i.ready.eq(stages == 0)  # words of the row before still need their scale
                with m.If(self.i.valid & self.i.ready):
                    m.d.sync += scale.eq(Cat(*self.i.payload.data)[32 - FLOAT_BITS : 32])
                    m.next = "WORDS"
            with m.State("WORDS"):
                with m.If(index == command.words):
                    m.next = "DRAIN"
                with m.Else():
                    m.d.comb += [offer.eq(level >= word_bits), self.i.ready.eq((left < word_bits) & ~ended)]
                    m.d.sync += [buffer.eq(kept), level.eq(left), index.eq(index + leaves)]
                    with m.If(self.i.valid & self.i.ready):
                        m.d.sync += [
                            buffer.eq(kept | (Cat(*self.i.payload.data) << left)),
                            level.eq(left + config.port_bits),
                            ended.eq(self.i.payload.last),
                        ]
            with m.State("DRAIN"):
                m.d.comb += self.i.ready.eq(~ended)
                m.d.sync += buffer.eq(0)
                with m.If(ended | (self.i.valid & self.i.payload.last)):
                    m.next = "COMMAND"

        values = Signal(column_values(config))
        for lane in range(config.vector):
            code = buffer[lane * bits : (lane + 1) * bits]
            m.d.comb += values[lane].eq(self._value(m, lane, code, scale, advance))

        word = Signal(vector_word(config))
        m.d.comb += [word.column.eq(command.column), word.index.eq(index)]
        with m.If(advance):
            m.d.sync += [stages.eq(Cat(offer, stages)), self.o.valid.eq(stages[-1])]
            m.d.sync += self.o.payload.eq(delayed(m, word, self.LATENCY - 1, name="tag"))
            m.d.sync += self.o.payload.values.eq(values)
        return m

    def _value(self, m: Module, lane: int, code, scale: Signal, advance: Signal):
        """The machine float of a code, LATENCY - 1 clocks later."""
        if self.config.embedding_bits == 16:
            zero = code[BF16_FRACTION : BF16_FRACTION + 8] == 0
            value = code.as_unsigned().shift_left(FRACTION_BITS - BF16_FRACTION)[:FLOAT_BITS]
            with m.If(advance):
                return delayed(m, value & (~zero).replicate(FLOAT_BITS), self.LATENCY - 1, name=f"value{lane}")
        to_float, mul = IntToFloat(self.config.embedding_bits), FloatMul()
        m.submodules += [EnableInserter(advance)(to_float), EnableInserter(advance)(mul)]
        m.d.comb += [to_float.i.eq(code.as_signed()), mul.a.eq(to_float.o), mul.b.eq(scale)]
        return mul.o
