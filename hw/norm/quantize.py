"""Quantiser: the pipeline from a vector in the scratchpad to its int8 or 16-bit activation codes."""

from __future__ import annotations

from amaranth.hdl import EnableInserter, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.bound import bounded
from hw.contract.config import AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import quantize_values
from hw.delay import delayed
from hw.float.mul import FloatMul
from hw.float.to_int import FloatToInt
from hw.norm.norm_memory import norm_read
from hw.norm.pack_activations import code_word
from hw.norm.quotient_code import INT8_LIMIT, QuotientCode
from hw.watch import watch_range, watch_stream

__all__ = ["LM_HEAD_LIMIT", "Quantize", "quantize_command", "column_read"]

LM_HEAD_LIMIT = 32767
_FETCH = 2
"""Clocks from an address to the element and its weight: memory, register."""


def quantize_command(config: AccelConfig) -> data.StructLayout:
    """A vector and how to quantise it.

    `base` is the scratchpad word of its first element, `words` counts words of Q elements, at least 1. `lm_head`
    selects 16-bit codes, scaled by 2^shift with shift = 14 - exponent of the absmax (-127 for zero); otherwise int8
    codes, 127 for `top`, with its `inverse` (machine floats, see `QuotientCode`).
    """
    return data.StructLayout({
        "column": config.column_bits,
        "base": config.word_bits,
        "words": range(config.quantize_words + 1),
        "top": FLOAT_BITS,
        "inverse": FLOAT_BITS,
        "shift": signed(9),
        "lm_head": 1,
    })


def column_read(config: AccelConfig) -> wiring.Signature:
    """A read port by column, seen from the reader: `data` is word `addr` of `column` one clock after `en`.

    Where Q is 2 V, the upper half of `data` is the word behind it. `data` holds while `en` is low.
    """
    return wiring.Signature({
        "en": Out(1),
        "column": Out(config.column_bits),
        "addr": Out(config.word_bits),
        "data": In(quantize_values(config)),
    })


class Quantize(wiring.Component):
    """Computes codes = rint(127 * rnd(x * g) / top), or clip(rint(rnd(x * g) * 2^shift), 32767) with `lm_head`.

        values (x) --+                +-> QuotientCode ------+
                     +-> FloatMul ----+                      +-> o
        norm (g) ----+                +-> FloatToInt, delay -+ with `lm_head`

    Rules: both read ports belong to this unit until the last word has left. A word that is not accepted at `o` stops
    the whole pipeline.

    Latency: the first word is valid `LATENCY` clocks after the command is accepted. Throughput: Q elements per clock,
    also from one command to the next, which is accepted while the last word is read.

    Members:
        i_command: quantize_command.
        values: read port of the scratchpad, at base + index of words of V.
        norm: read port of the norm weights, at index of words of V.
        o: codes in order, `last` with the last word of the command.
    """

    LATENCY = 1 + _FETCH + FloatMul.LATENCY + QuotientCode.LATENCY

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i_command": In(stream.Signature(quantize_command(config))),
            "values": Out(column_read(config)),
            "norm": Out(norm_read(config)),
            "o": Out(stream.Signature(code_word(config))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        watch_stream(m, platform, self.o, "o")
        config = self.config
        command = Signal(quantize_command(config))
        index = Signal(range(config.quantize_words + 1))
        place = index * (config.quantize_lanes // config.vector)
        reading, last, go = Signal(), Signal(), Signal()
        m.d.comb += [
            last.eq(index == command.words - 1),
            self.i_command.ready.eq(~reading | (go & last)),
            go.eq(~self.o.valid | self.o.ready),
            self.values.en.eq(go & reading),
            self.values.column.eq(command.column),
            self.values.addr.eq(command.base + place),
            self.norm.en.eq(go & reading),
            self.norm.addr.eq(place),
        ]
        with m.If(self.i_command.valid & self.i_command.ready):
            m.d.sync += [command.eq(self.i_command.payload), reading.eq(1), index.eq(0)]
        with m.Elif(go & reading):
            m.d.sync += [index.eq(index + 1), reading.eq(~last)]

        # The marks of a word, and what the units need of its command, travel beside its elements.
        mark = Signal(data.StructLayout({
            "valid": 1, "last": 1, "lm_head": 1, "column": config.column_bits, "index": index.shape(),
        }))
        m.d.comb += [
            mark.valid.eq(reading),
            mark.last.eq(last),
            mark.lm_head.eq(command.lm_head),
            mark.column.eq(command.column),
            mark.index.eq(index),
        ]
        with m.If(go):
            mark = delayed(m, mark, self.LATENCY - 1, name="mark")
            to_product = _FETCH + FloatMul.LATENCY
            top, inverse, shift = (
                delayed(m, command[name], to_product, name=name) for name in ("top", "inverse", "shift"))
            values, weights = (
                delayed(m, port.data, 1, name=name) for port, name in ((self.values, "values"), (self.norm, "weights")))
            late_top = delayed(m, top, QuotientCode.TOP_DELAY, name="late_top")
        m.d.comb += [
            self.o.valid.eq(mark.valid),
            self.o.payload.last.eq(mark.last),
            self.o.payload.index.eq(mark.index),
            self.o.payload.column.eq(mark.column),
        ]

        for lane in range(config.quantize_lanes):
            product, to_int8, to_lm_head = FloatMul(), QuotientCode(), FloatToInt(16, LM_HEAD_LIMIT)
            m.submodules[f"product_{lane}"] = EnableInserter(go)(product)
            m.submodules[f"int8_{lane}"] = EnableInserter(go)(to_int8)
            m.submodules[f"lm_head_{lane}"] = EnableInserter(go)(to_lm_head)
            m.d.comb += [
                product.a.eq(values[lane]),
                product.b.eq(weights[lane]),
                to_int8.a.eq(product.o),
                to_int8.top.eq(top),
                to_int8.late_top.eq(late_top),
                to_int8.inverse.eq(inverse),
                to_lm_head.i.eq(product.o),
                to_lm_head.shift.eq(shift),
            ]
            with m.If(go):
                lm_head = delayed(m, to_lm_head.o, QuotientCode.LATENCY - FloatToInt.LATENCY, name=f"lm_head_{lane}")
            code = self.o.payload.codes[lane]
            m.d.comb += code.eq(Mux(mark.lm_head, lm_head, to_int8.o))
            with m.If(self.o.valid):
                watch_range(m, platform, code, Mux(mark.lm_head, LM_HEAD_LIMIT, INT8_LIMIT), "a code")
        bounded(platform, self.o.payload.codes[0], "16-bit code", "32767", LM_HEAD_LIMIT, -LM_HEAD_LIMIT)
        return m
