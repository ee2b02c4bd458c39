"""From exact dot products and value rows to the output of a head: score, softmax, weighted values, accumulate."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.accumulate import Accumulate, head_output
from hw.attention.score import Score, score_sum
from hw.attention.softmax import OnlineSoftmax
from hw.attention.weighted_values import WeightedValues, value_beat
from hw.contract.config import AccelConfig

__all__ = ["HeadChain"]


class HeadChain(wiring.Component):
    """Attention of one query head after the other, block by block: docs/numerics.md section 5 behind the dot product.

    Rules: the sums of a block's valid positions go in on `i`, then its value rows on `values`; a head's outputs come
    after its last block. The softmax holds its result until `Accumulate` is done with the block, while
    `WeightedValues` lets go of the weights with the last row: `rows_done` remembers that.

    Latency: Score.LATENCY + OnlineSoftmax.LATENCY (LAST_LATENCY for a last block) from the last sum to the first value
    beat taken; WeightedValues.LATENCY + Accumulate.LATENCY from the last beat to the first output.

    Members:
        i: score_sum.
        values: value_beat.
        o: head_output.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(score_sum(config))),
            "values": In(stream.Signature(value_beat(config))),
            "o": Out(stream.Signature(head_output(config))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.score = score = Score(self.config)
        m.submodules.softmax = softmax = OnlineSoftmax(self.config)
        m.submodules.weighted = weighted = WeightedValues(self.config)
        m.submodules.accumulate = accumulate = Accumulate(self.config)
        wiring.connect(m, wiring.flipped(self.i), score.i)
        wiring.connect(m, score.o, softmax.i)
        wiring.connect(m, wiring.flipped(self.values), weighted.i)
        wiring.connect(m, weighted.o, accumulate.i)
        wiring.connect(m, accumulate.o, wiring.flipped(self.o))
        result, rows_done = softmax.o.payload, Signal()
        m.d.comb += [
            weighted.weights.valid.eq(softmax.o.valid & ~rows_done),
            weighted.weights.payload.eq(result.weights),
            accumulate.factors.valid.eq(softmax.o.valid),
            softmax.o.ready.eq(accumulate.factors.ready),
        ]
        for name in ("head", "alpha", "exponent", "last_block", "inverse"):
            m.d.comb += accumulate.factors.payload[name].eq(result[name])
        with m.If(accumulate.factors.ready):
            m.d.sync += rows_done.eq(0)
        with m.Elif(weighted.weights.ready):
            m.d.sync += rows_done.eq(1)
        return m
