"""This file turns the exact dot product of a query and a key into the score of that position."""

from __future__ import annotations

from amaranth.hdl import Cat, EnableInserter, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.softmax import score_word
from hw.contract.config import AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.delay import delayed
from hw.dot.dot_engine import OPERAND_BITS
from hw.dot.scaled_sum import ScaledSum
from hw.watch import watch_stream

__all__ = ["Score", "dot_bits", "score_sum"]


def dot_bits(config: AccelConfig) -> int:
    """Signed width of the dot product of a query and a key, that of a `DotEngine` for rows of `max_head_dim`."""
    largest = (2 ** (OPERAND_BITS - 1) - 1) * (2 ** (config.kv_bits - 1) - 1) * config.max_head_dim
    return largest.bit_length() + 1


def score_sum(config: AccelConfig) -> data.StructLayout:
    """One position of a block of one head: the exact dot product, the scales of both its operands, and what the softmax
    needs of the position beside its score (see `score_word`)."""
    return data.StructLayout({
        "sum": signed(dot_bits(config)),
        "query_scale": FLOAT_BITS,
        "key_scale": FLOAT_BITS,
        "head": range(config.max_group),
        "value_scale": FLOAT_BITS,
        "last": 1,
        "first_block": 1,
        "last_block": 1,
    })


class Score(wiring.Component):
    """Scores of section 5 of docs/numerics.md: `s = F(sum) * (qs * sk)`, three roundings.

    Cycles: one score per clock, `LATENCY` clocks after its sum if nothing stalls; a score that is not taken stops the
    whole pipeline.

    Members:
        i: exact sums with their scales.
        o: scores, in the same order.
    """

    LATENCY = ScaledSum.LATENCY

    def __init__(self, config: AccelConfig):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(score_sum(config))),
            "o": Out(stream.Signature(score_word(config))),
        })

    def elaborate(self, platform):
        m = Module()
        watch_stream(m, platform, self.o, "o")
        advance = Signal()
        scaled_sum = ScaledSum(dot_bits(self.config))
        m.submodules.scaled_sum = EnableInserter(advance)(scaled_sum)
        sum_in, score = self.i.payload, self.o.payload
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(advance),
            scaled_sum.i.eq(sum_in.sum),
            scaled_sum.a.eq(sum_in.query_scale),
            scaled_sum.b.eq(sum_in.key_scale),
            score.score.eq(scaled_sum.o),
        ]
        names = ("head", "value_scale", "last", "first_block", "last_block")
        with m.If(advance):
            beside = delayed(m, Cat(self.i.valid, *(sum_in[name] for name in names)), self.LATENCY, name="beside")
        m.d.comb += Cat(self.o.valid, *(score[name] for name in names)).eq(beside)
        return m
