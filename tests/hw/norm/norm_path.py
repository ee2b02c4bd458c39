"""The units of a norm in a row, with streams at both ends, for `norm_bench.py`."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import stream_beat, vector_word
from hw.norm.norm_memory import NormMemory
from hw.norm.pack_activations import code_word
from hw.norm.quantize import Quantize, column_read, quantize_command
from hw.norm.scale import NormScale, scale_result
from hw.norm.statistics import NormStatistics

__all__ = ["NormPath"]


class NormPath(wiring.Component):
    """Norm weights, statistics and scale joined as in the machine; who drives it gives the command to quantise.

    Rules: as those of the units. The norm memory is read by the statistics or by `Quantize`, never by both at once.

    Members:
        count, start, i_weights, loaded: the norm weights, see `NormMemory`.
        i: words of the vectors. i_finish: a column that is complete.
        per_n, eps: steady from a finish to its scales. o_scale: scales of the columns, in the order of the finishes.
        i_command: what to quantise. values: the read port of the scratchpad. o: codes.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "count": In(range(config.max_k + 1)), "start": In(1), "loaded": Out(1),
            "i_weights": In(stream.Signature(stream_beat(config))),
            "i": In(stream.Signature(vector_word(config))),
            "i_finish": In(stream.Signature(config.column_bits)),
            "per_n": In(FLOAT_BITS), "eps": In(FLOAT_BITS),
            "o_scale": Out(stream.Signature(scale_result(config))),
            "i_command": In(stream.Signature(quantize_command(config))),
            "values": Out(column_read(config)),
            "o": Out(stream.Signature(code_word(config))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.weights = weights = NormMemory(self.config)
        m.submodules.statistics = statistics = NormStatistics(self.config)
        m.submodules.scale = scale = NormScale(self.config)
        m.submodules.quantize = quantize = Quantize(self.config)
        for outer, inner in ((self.i_weights, weights.i), (self.i, statistics.i), (self.i_finish, statistics.i_finish),
                             (self.i_command, quantize.i_command)):
            wiring.connect(m, wiring.flipped(outer), inner)
        for inner, outer in ((scale.o, self.o_scale), (quantize.values, self.values), (quantize.o, self.o)):
            wiring.connect(m, inner, wiring.flipped(outer))
        found = statistics.o.payload
        m.d.comb += [
            weights.count.eq(self.count), weights.start.eq(self.start), self.loaded.eq(weights.done),
            scale.i.valid.eq(statistics.o.valid), statistics.o.ready.eq(scale.i.ready),
            scale.i.payload.square_sum.eq(found.square_sum), scale.i.payload.absmax.eq(found.absmax),
            scale.i.payload.per_n.eq(self.per_n), scale.i.payload.eps.eq(self.eps),
            weights.read.en.eq(statistics.norm.en | quantize.norm.en),
            weights.read.addr.eq(quantize.norm.addr),
            statistics.norm.data.eq(weights.read.data), quantize.norm.data.eq(weights.read.data),
        ]
        with m.If(statistics.norm.en):
            m.d.comb += weights.read.addr.eq(statistics.norm.addr)
        return m
