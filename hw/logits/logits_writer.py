"""Logits to memory as float32 words, in long writes."""

from __future__ import annotations

from amaranth.hdl import Array, C, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.bound import bounded
from hw.contract.config import AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import write_beat, write_request
from hw.logits.argmax import logit_word
from hw.watch import watch_stream

__all__ = ["LogitsWriter", "logits_row"]

MAX_BEATS = 256
FLOAT32_BITS = 32


def logits_row(config: AccelConfig) -> data.StructLayout:
    """Where a row of logits goes, and its beats: ceil(vocab * 4 / beat)."""
    return data.StructLayout({"address": unsigned(config.address_bits), "beats": unsigned(24)})


class LogitsWriter(wiring.Component):
    """Packs logits into beats and writes them in requests of up to 256 beats.

    Rules: a row is commanded before its logits; the logit with `last` ends it. Words behind it in the last beat are 0.

    Cost: a clock per logit and one per beat and request.

    Members:
        i_row: logits_row.
        i: logit_word, of which the value is used.
        o_request, o: to the write engine.
        idle: no row is under way.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i_row": In(stream.Signature(logits_row(config))),
            "i": In(stream.Signature(logit_word(config))),
            "o_request": Out(stream.Signature(write_request(config))),
            "o": Out(stream.Signature(write_beat(config))),
            "idle": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name in ("o_request", "o"):
            watch_stream(m, platform, getattr(self, name), name)
        config = self.config
        words = config.port_bits // FLOAT32_BITS
        beat_shift = exact_log2(config.beat_bytes)
        row = Signal(logits_row(config))
        part, left, size = Signal(range(words)), Signal(range(MAX_BEATS + 1)), Signal(range(MAX_BEATS + 1))
        bounded(platform, self.o_request.payload.beats, "beats of a write", "256", MAX_BEATS)
        packed = Array(Signal(FLOAT32_BITS, name=f"word{n}") for n in range(words))
        m.d.comb += [
            size.eq(Mux(row.beats > MAX_BEATS, MAX_BEATS, row.beats)),
            self.o_request.payload.address.eq(row.address),
            self.o_request.payload.beats.eq(size),
            self.o.payload.data.as_value().eq(Cat(*packed)),
            self.o.payload.strobe.eq(~0),
        ]
        with m.FSM():
            with m.State("ROW"):
                m.d.comb += [self.i_row.ready.eq(1), self.idle.eq(1)]
                m.d.sync += [row.eq(self.i_row.payload), part.eq(0)]
                with m.If(self.i_row.valid):
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += self.o_request.valid.eq(1)
                m.d.sync += left.eq(size)
                with m.If(self.o_request.ready):
                    m.d.sync += [row.address.eq(row.address + (size << beat_shift)), row.beats.eq(row.beats - size)]
                    m.next = "LOGITS"
            with m.State("LOGITS"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    with m.If(part == 0):
                        m.d.sync += [word.eq(0) for word in packed]
                    m.d.sync += packed[part].eq(Cat(C(0, FLOAT32_BITS - FLOAT_BITS), self.i.payload.logit))
                    m.d.sync += part.eq(part + 1)
                    with m.If(self.i.payload.last | (part == words - 1)):
                        m.d.sync += part.eq(0)
                        m.next = "BEAT"
            with m.State("BEAT"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += left.eq(left - 1)
                    m.next = "LOGITS"
                    with m.If(left == 1):
                        m.next = "REQUEST"
                        with m.If(row.beats == 0):
                            m.next = "ROW"
        return m
