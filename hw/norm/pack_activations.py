"""Packer from words of Q codes to words of Kc activations, in front of the memories of the array."""

from __future__ import annotations

from math import gcd

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.array.column import activation_write
from hw.bound import bounded
from hw.contract.config import AccelConfig
from hw.watch import watch

__all__ = ["ACTIVATION_CODE_BITS", "PackActivations", "code_word"]

ACTIVATION_CODE_BITS = 16
"""Width of a code; int8 codes use the lower half."""


def code_word(config: AccelConfig) -> data.StructLayout:
    """Q codes of one column; `index` counts its words from 0, `last` marks the last one."""
    return data.StructLayout({
        "column": config.column_bits,
        "index": config.word_bits,
        "codes": data.ArrayLayout(signed(ACTIVATION_CODE_BITS), config.quantize_lanes),
        "last": 1,
    })


class PackActivations(wiring.Component):
    """Collects int8 codes into words of `inputs` activations for the write port of the array.

    Rules: Kc need not be a multiple of Q; codes that do not fit in a word start the next one. After `last` the word is
    filled with zeros. A word beyond the memory of the array is dropped: it only holds padding.

    Latency: a full word is written one clock after the code that completes it. If the codes with `last` cross a word,
    the rest is written one clock later, and the input waits for that clock. Throughput: one word of codes per clock.

    Members:
        i: codes of one column after the other, in order. The column is that of the word that completes the activations.
        o, o_en: the write port of the array.
        o_done: high together with the last write of a column, also if that write is dropped.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(code_word(config))),
            "o": Out(activation_write(config)),
            "o_en": Out(1),
            "o_done": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        lanes, inputs = config.quantize_lanes, config.inputs
        held = Signal(data.ArrayLayout(signed(8), inputs + lanes))
        merged = Signal.like(held)
        fill = Signal(range(inputs + 1))
        total = Signal(range(inputs + lanes + 1))
        address = Signal(range(config.activation_words + 1))
        bounded(platform, total, "codes of an incomplete word", "Kc - 1 + Q", inputs - 1 + lanes)
        bounded(platform, address, "word of activations, with padding", "ceil(max_k / Kc)", config.activation_words)
        rest, column = Signal(), Signal(config.column_bits)
        take, write, finish = Signal(), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~rest),
            take.eq(self.i.valid & self.i.ready),
            total.eq(fill + lanes),
            merged.eq(held),
        ]
        with m.If(~rest):
            for place in range(0, inputs, gcd(inputs, lanes)):  # all that `fill` can be
                with m.If(fill == place):
                    for lane in range(lanes):
                        m.d.comb += merged[place + lane].eq(self.i.payload.codes[lane][:8].as_signed())

        watch(m, platform, fill < inputs, "{} codes wait for a word of {}", fill, inputs)
        watch(m, platform, address <= config.activation_words, "word {} of a vector", address)
        full = total >= inputs
        m.d.comb += [
            finish.eq(rest | (take & self.i.payload.last & (total <= inputs))),
            write.eq(finish | (take & full)),
        ]
        with m.If(take):
            m.d.sync += [held.eq(merged), fill.eq(total), column.eq(self.i.payload.column)]
            with m.If(full):
                m.d.sync += [
                    held.as_value().eq(merged.as_value()[8 * inputs:]),
                    fill.eq(total - inputs),
                    address.eq(address + 1),
                    rest.eq(self.i.payload.last & (total > inputs)),
                ]
        with m.If(finish):
            m.d.sync += [held.as_value().eq(0), fill.eq(0), address.eq(0), rest.eq(0)]

        m.d.sync += [self.o_en.eq(0), self.o_done.eq(finish)]
        with m.If(write):
            m.d.sync += [
                self.o_en.eq(address < config.activation_words),
                self.o.address.eq(address),
                self.o.values.as_value().eq(merged.as_value()[:8 * inputs]),
                self.o.column.eq(self.i.payload.column),
            ]
            with m.If(rest):
                m.d.sync += self.o.column.eq(column)
        return m
