"""The systolic array: it multiplies one beat of weights per clock with the activations of all tokens."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.array.column import (
    ACTIVATION_READ_LATENCY,
    OUTPUT_BLOCKS,
    ArrayColumn,
    activation_write,
    array_control,
)
from hw.array.decoder import TritDecoder
from hw.array.negative_counts import NegativeCounts, array_weights
from hw.bound import bounded
from hw.contract.config import AccelConfig, ceil_div
from hw.contract.payloads import acc_word, stream_beat
from hw.delay import delayed
from hw.watch import watch, watch_stream

__all__ = ["SystolicArray", "array_command"]


def array_command(config: AccelConfig) -> data.StructLayout:
    """One matrix: words = ceil(K / Kc), blocks = ceil(M / R), columns that hold a token. None of them may be 0."""
    return data.StructLayout({
        "words": range(config.activation_words + 1),
        "blocks": unsigned(config.word_bits + 1),
        "columns": range(config.columns + 1),
    })


class SystolicArray(wiring.Component):
    """Computes the exact sums of a ternary matrix times the int8 vectors of up to T tokens.

        i_weights -> TritDecoder --> NegativeCounts
                                |      |
                                +-> column 0 -> column 1 -> ... -> column T-1
                                       |           |                  |
                                       +-----------+-------> o <------+    one column after the other

    Trit 5 * byte + t of a beat is the weight of row trit // Kc and input trit % Kc.

    Rules: a command is accepted when the command before is done. The array then accepts words * blocks beats, row block
    by row block. A beat that comes before its command waits. A row block starts only if every column can store its
    sums, so a slow output stalls the intake, and no sum is lost. Activations are not written while a command runs.

    Latency and throughput: `words * blocks` clocks from the first accepted beat to the last, if no beat is late and the
    output is always ready, then `latency(columns)` clocks until `o_done`. With fewer than `stall_free_words(columns)`
    words per row block the output is slower than the intake, and the intake waits.

    Members:
        i_command: size of the matrix.
        i_weights: packed beats of the matrix.
        i_write, i_write_en: one word of activations for one column; not while a command runs.
        o: R/V words for each row block and each valid column; `index` counts the words of a column from 0.
        o_done: high for one clock after the last output was accepted.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        self.columns = [ArrayColumn(config) for _ in range(config.columns)]
        super().__init__({
            "i_command": In(stream.Signature(array_command(config))),
            "i_weights": In(stream.Signature(stream_beat(config))),
            "i_write": In(activation_write(config)),
            "i_write_en": In(1),
            "o": Out(stream.Signature(acc_word(config))),
            "o_done": Out(1),
        })

    def latency(self, columns: int) -> int:
        """Clocks from the acceptance of the last beat to `o_done`, if the output is always ready."""
        # control, read, dot, accumulate, store
        pipeline = 1 + ACTIVATION_READ_LATENCY + self.columns[0].dots[0].latency + 2
        return pipeline + columns * (self.config.rows // self.config.vector) + 1

    def stall_free_words(self, columns: int) -> int:
        """Fewest words per row block at which the intake never waits, if the output is always ready.

        Sums leave as fast as they come, and a credit is back before the intake has used the others.
        """
        return max(
            columns * (self.config.rows // self.config.vector),
            ceil_div(self.latency(columns) - 2, OUTPUT_BLOCKS - 1),
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        watch_stream(m, platform, self.o, "o")
        config = self.config
        command = Signal(array_command(config))
        running, credit_back = Signal(), Signal()
        m.d.comb += self.i_command.ready.eq(~running)
        with m.If(self.i_command.valid & self.i_command.ready):
            m.d.sync += [command.eq(self.i_command.payload), running.eq(1)]

        # Intake: position of the next beat, and credits for row blocks.
        word = Signal.like(command.words)
        blocks_in = Signal.like(command.blocks)
        credits = Signal(range(OUTPUT_BLOCKS + 1), init=OUTPUT_BLOCKS)
        first, last, take = Signal(), Signal(), Signal()
        m.d.comb += [
            first.eq(word == 0),
            last.eq(word == command.words - 1),
            self.i_weights.ready.eq(running & (blocks_in != command.blocks) & (~first | (credits != 0))),
            take.eq(self.i_weights.valid & self.i_weights.ready),
        ]
        with m.If(take):
            m.d.sync += word.eq(Mux(last, 0, word + 1))
            with m.If(last):
                m.d.sync += blocks_in.eq(blocks_in + 1)
        m.d.sync += credits.eq(credits - (take & first) + credit_back)
        watch(m, platform, credits <= OUTPUT_BLOCKS, "there are {} credits", credits)
        bounded(platform, credits, "row block credits", "4", OUTPUT_BLOCKS)

        control = Signal(array_control(config))
        m.d.sync += [control.valid.eq(take), control.first.eq(first), control.last.eq(last), control.address.eq(word)]

        # Weights: one register before and one after the decoders, then as late as the activations.
        packed = Signal(stream_beat(config))
        weights = Signal(array_weights(config))
        decoders = [TritDecoder() for _ in range(config.stream_bytes)]
        m.d.sync += packed.eq(self.i_weights.payload)
        for n, decoder in enumerate(decoders):
            m.submodules[f"decoder_{n}"] = decoder
            m.d.comb += decoder.i.eq(packed[n])
        decoded = Cat(decoder.o.as_value() for decoder in decoders)
        m.d.sync += weights.as_value().eq(delayed(m, decoded, ACTIVATION_READ_LATENCY - 1, name="decoded"))

        m.submodules.counts = counts = NegativeCounts(config)
        m.d.comb += counts.i_weights.eq(weights)
        for n, column in enumerate(self.columns):
            m.submodules[f"column_{n}"] = column
            before = self.columns[n - 1]
            m.d.comb += [
                column.i_write.eq(self.i_write),
                column.i_write_en.eq(self.i_write_en & (self.i_write.column == n)),
                column.i_enabled.eq(n < command.columns),
                column.i_control.eq(before.o_control if n else control),
                column.i_weights.eq(before.o_weights if n else weights),
                column.i_negatives.eq(before.o_negatives if n else counts.o),
            ]

        self._collect(m, command, running, credit_back, [word, blocks_in])
        largest = 127 * config.max_k
        bounded(platform, self.o.payload.sums[0], "BitLinear sum", "127 max_k", largest, -largest)
        return m

    def _collect(
        self, m: Module, command: data.View, running: Signal, credit_back: Signal, positions: list[Signal]
    ) -> None:
        """Take the words of the columns in turn, number them, and finish the command."""
        config = self.config
        words = config.rows // config.vector
        column, word = Signal(config.column_bits), Signal(range(max(2, words)))
        base = Signal(config.word_bits)
        blocks_out = Signal.like(command.blocks)
        final = Signal()
        free, taken = Signal(), Signal()
        source = Signal(self.columns[0].o.payload.shape())
        source_valid = Signal()
        m.d.comb += [free.eq(~self.o.valid | self.o.ready), taken.eq(free & source_valid)]
        with m.Switch(column):
            for n, part in enumerate(self.columns):
                with m.Case(n):
                    m.d.comb += [source.eq(part.o.payload), source_valid.eq(part.o.valid), part.o.ready.eq(free)]

        with m.If(free):
            m.d.sync += self.o.valid.eq(source_valid)
        with m.If(taken):
            m.d.sync += [
                self.o.payload.column.eq(column),
                self.o.payload.index.eq(base + word),
                self.o.payload.sums.eq(source),
                word.eq(word + 1),
            ]
            with m.If(word == words - 1):
                m.d.sync += [word.eq(0), column.eq(column + 1)]
                with m.If(column == command.columns - 1):
                    m.d.comb += credit_back.eq(1)
                    m.d.sync += [
                        column.eq(0),
                        base.eq(base + words),
                        blocks_out.eq(blocks_out + 1),
                        final.eq(blocks_out == command.blocks - 1),
                    ]

        m.d.sync += self.o_done.eq(0)
        with m.If(final & self.o.valid & self.o.ready):
            m.d.sync += [self.o_done.eq(1), running.eq(0), final.eq(0), base.eq(0), blocks_out.eq(0)]
            m.d.sync += [position.eq(0) for position in positions]
