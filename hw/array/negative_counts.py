"""How many weights of each row of a beat are -1: what `TernaryDot` needs to make its sums exact."""

from __future__ import annotations

from amaranth.hdl import Module, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.contract.config import AccelConfig
from hw.contract.payloads import Trit
from hw.dot.adder_tree import pipelined_tree

__all__ = ["NegativeCounts", "array_weights", "negative_counts"]


def array_weights(config: AccelConfig) -> data.ArrayLayout:
    """The trits of one beat: R rows of Kc inputs."""
    return data.ArrayLayout(data.ArrayLayout(Trit, config.inputs), config.rows)


def negative_counts(config: AccelConfig) -> data.ArrayLayout:
    """The number of trits of -1 in each of the R rows of a beat, 0 to Kc."""
    return data.ArrayLayout(unsigned(config.inputs.bit_length()), config.rows)


class NegativeCounts(wiring.Component):
    """Counts the negative trits of each row of a beat, once for all columns of the array.

    The numbers do not depend on the activations, so they travel from column to column beside the weights. A count in
    each of eight columns would take 13 % more LUTs.

    Latency: `latency` clocks. Throughput: one beat per clock.

    Members:
        i_weights: the weights of a beat.
        o: their counts.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({"i_weights": In(array_weights(config)), "o": Out(negative_counts(config))})

    @property
    def latency(self) -> int:
        """Clocks from `i_weights` to `o`, as long as those of the terms in a `TernaryDot`."""
        return ceil_log2(self.config.inputs)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for row in range(self.config.rows):
            trits = [self.i_weights[row][n] for n in range(self.config.inputs)]
            m.d.comb += self.o[row].eq(pipelined_tree(m, [trit.nonzero & trit.negate for trit in trits]))
        return m
