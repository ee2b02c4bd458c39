"""The query codes of one group of heads, laid out as the dot engine wants them: a code per cached element of a beat."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Signal, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.query_quantize import QUERY_CODE_BITS, query_codes
from hw.contract.config import AccelConfig, ceil_div
from hw.contract.machine_float import FLOAT_BITS

__all__ = ["QueryMemory", "beat_elements", "query_read", "row_beats"]


def beat_elements(config: AccelConfig) -> int:
    """Cached elements in a beat."""
    return config.beat_bytes // config.kv_bytes


def row_beats(config: AccelConfig) -> int:
    """Beats of the longest cached row."""
    return ceil_div(config.max_head_dim, beat_elements(config))


def query_read(config: AccelConfig) -> wiring.Signature:
    """A read port, seen from the reader: the codes for beat `word` of a row, one clock after `en`; held without it.

    `scale` is qs of `head`, combinational.
    """
    return wiring.Signature({
        "en": Out(1),
        "head": Out(range(config.max_group)),
        "word": Out(range(row_beats(config))),
        "codes": In(data.ArrayLayout(signed(QUERY_CODE_BITS), beat_elements(config))),
        "scale": In(FLOAT_BITS),
    })


class QueryMemory(wiring.Component):
    """Codes and scales of `max_group` query heads.

    Rules: `i` is one head's codes in order; with `last` the head's scale is stored and the next head starts. `clear`
    starts again at head 0. Rows are whole beats. Always ready.

    Cost: a clock per V codes. Memory: max_group * row_beats words of `beat_elements` codes.

    Members:
        clear: the next row is head 0's.
        i: query_codes.
        read: query_read.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "clear": In(1),
            "i": In(stream.Signature(query_codes(config), always_ready=True)),
            "read": In(query_read(config)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        words, parts = row_beats(config), beat_elements(config) // config.vector
        m.submodules.codes = codes = memory.Memory(
            shape=data.ArrayLayout(unsigned(QUERY_CODE_BITS), beat_elements(config)), depth=config.max_group * words,
            init=[],
        )
        write, read = codes.write_port(granularity=config.vector), codes.read_port()
        scales = Array(Signal(FLOAT_BITS, name=f"scale{n}") for n in range(config.max_group))
        head, word = Signal(range(config.max_group)), Signal(range(words))
        part = Signal(range(max(2, parts)))
        m.d.comb += [
            write.addr.eq(head * words + word),
            write.en.eq(self.i.valid << part),
            read.en.eq(self.read.en),
            read.addr.eq(self.read.head * words + self.read.word),
            self.read.scale.eq(scales[self.read.head]),
        ]
        for element in range(beat_elements(config)):
            m.d.comb += [
                write.data[element].eq(self.i.payload.codes[element % config.vector]),
                self.read.codes[element].eq(read.data[element].as_signed()),
            ]
        with m.If(self.i.valid):
            m.d.sync += part.eq(part + 1)
            with m.If(part == parts - 1):
                m.d.sync += [part.eq(0), word.eq(word + 1)]
            with m.If(self.i.payload.last):
                m.d.sync += [scales[head].eq(self.i.payload.scale), head.eq(head + 1), word.eq(0), part.eq(0)]
        with m.If(self.clear):
            m.d.sync += [head.eq(0), word.eq(0), part.eq(0)]
        return m
