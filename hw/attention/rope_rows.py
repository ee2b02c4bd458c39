"""Cosines and sines of the columns: one table row per column, fetched once per pass (docs/model-image.md)."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.bound import bounded
from hw.contract.config import AccelConfig
from hw.contract.kv_layout import KvLayout
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import beat, column_values
from hw.watch import watch

__all__ = ["RopeRows", "rope_load", "rope_read", "rope_words"]

FLOAT32_BITS = 32
"""A machine float in memory: the upper bits of a float32 word."""


def rope_words(config: AccelConfig) -> int:
    """Words of V cosines of the longest row."""
    return KvLayout.longest(config).head_dim // 2 // config.vector


def rope_load(config: AccelConfig) -> data.StructLayout:
    """Which column a row is for, and its words of V cosines (head_dim / 2 / V; as many sines follow)."""
    return data.StructLayout({
        "column": unsigned(config.column_bits),
        "words": range(rope_words(config) + 1),
    })


def rope_read(config: AccelConfig) -> wiring.Signature:
    """A read port, seen from the reader: V cosines and V sines one clock after `en`; they hold while `en` is low."""
    return wiring.Signature({
        "en": Out(1),
        "column": Out(config.column_bits),
        "word": Out(range(rope_words(config))),
        "cos": In(column_values(config)),
        "sin": In(column_values(config)),
    })


class RopeRows(wiring.Component):
    """Keeps `columns` rows of the RoPE table as machine floats.

    Rules: one `i_load` per row; its beats follow on `i`, the last with `last`, padding behind the sines is dropped. The
    next row is taken when `last` has been. Read while loading: old or new words.

    Cost: a clock per word of V floats and one per beat. Memory: 2 x columns x `rope_words` words.

    Members:
        i_load: rope_load.
        i: beats of the row.
        read: rope_read.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i_load": In(stream.Signature(rope_load(config))),
            "i": In(stream.Signature(data.StructLayout({"data": beat(config), "last": 1}))),
            "read": In(rope_read(config)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        words, take = rope_words(config), FLOAT32_BITS * config.vector
        load = Signal(rope_load(config))
        buffer, level = Signal(config.port_bits + take), Signal(range(config.port_bits + take + 1))
        word, sines, ended = Signal(range(words + 1)), Signal(), Signal()
        values = Signal(column_values(config))
        for lane in range(config.vector):
            m.d.comb += values[lane].eq(buffer[FLOAT32_BITS * (lane + 1) - FLOAT_BITS : FLOAT32_BITS * (lane + 1)])

        watch(m, platform, level < config.port_bits + take, "{} bits wait", level)
        bounded(platform, level, "buffered bits of a RoPE row", "port_bits + 32 V - 1",
                config.port_bits + 32 * config.vector - 1)

        store = Signal()
        for name, out, chosen in (("cos", self.read.cos, ~sines), ("sin", self.read.sin, sines)):
            m.submodules[name] = rows = memory.Memory(
                shape=column_values(config), depth=config.columns * words, init=[]
            )
            write, read = rows.write_port(), rows.read_port()
            m.d.comb += [
                write.en.eq(store & chosen), write.addr.eq(load.column * words + word), write.data.eq(values),
                read.en.eq(self.read.en), read.addr.eq(self.read.column * words + self.read.word), out.eq(read.data),
            ]

        with m.FSM():
            with m.State("LOAD"):
                m.d.comb += self.i_load.ready.eq(1)
                m.d.sync += [load.eq(self.i_load.payload), word.eq(0), sines.eq(0), ended.eq(0)]
                m.d.sync += [level.eq(0), buffer.eq(0)]
                with m.If(self.i_load.valid):
                    m.next = "WORDS"
            with m.State("WORDS"):
                with m.If(level >= take):
                    m.d.comb += store.eq(1)
                    m.d.sync += [buffer.eq(buffer >> take), level.eq(level - take), word.eq(word + 1)]
                    with m.If(word == load.words - 1):
                        m.d.sync += [word.eq(0), sines.eq(1)]
                        with m.If(sines):
                            m.next = "DRAIN"
                with m.Else():
                    m.d.comb += self.i.ready.eq(1)
                    with m.If(self.i.valid):
                        m.d.sync += [
                            buffer.eq(buffer | (Cat(*self.i.payload.data) << level)),
                            level.eq(level + config.port_bits),
                            ended.eq(self.i.payload.last),
                        ]
            with m.State("DRAIN"):
                m.d.comb += self.i.ready.eq(~ended)
                with m.If(ended | (self.i.valid & self.i.payload.last)):
                    m.next = "LOAD"
        return m
