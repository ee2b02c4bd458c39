"""Dot product of trits and int8 activations: the arithmetic of the array, without memory or control."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.bound import bounded
from hw.contract.payloads import Trit
from hw.dot.adder_tree import pipelined_tree

__all__ = ["TernaryDot"]


class TernaryDot(wiring.Component):
    """Sums `inputs` products of a trit and an int8. The result is exact.

    A trit of -1 contributes the one's complement of its activation, which is 1 too small. The number of negative trits
    is added at the end. This needs no negation per input; `NegativeCounts` counts once for all columns.

    Latency: `latency` clocks from the inputs to `o`: a register per tree level, and one after the last addition.
    Throughput: one sum per clock.

    Members:
        i_activations: an int8 per input.
        i_weights: a trit per input.
        i_negatives: how many of these trits are -1, one clock less than `latency` later.
        o: the signed sum.
    """

    def __init__(self, inputs: int) -> None:
        if inputs < 1:
            raise ValueError(f"inputs must be at least 1, not {inputs}")
        self.inputs = inputs
        self.sum_bits = (128 * inputs).bit_length() + 1
        super().__init__({
            "i_activations": In(data.ArrayLayout(signed(8), inputs)),
            "i_weights": In(data.ArrayLayout(Trit, inputs)),
            "i_negatives": In(unsigned(inputs.bit_length())),
            "o": Out(signed(self.sum_bits)),
        })

    @property
    def latency(self) -> int:
        """Clocks from the inputs to `o`."""
        return ceil_log2(self.inputs) + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        terms = []
        for n in range(self.inputs):
            nonzero, negate = self.i_weights[n].nonzero, self.i_weights[n].negate
            term = Signal(signed(8), name=f"term_{n}")
            # All operands unsigned: a signed one would be widened and the masks zero-extended.
            activation = self.i_activations[n].as_unsigned()
            m.d.comb += term.eq((activation ^ negate.replicate(8)) & nonzero.replicate(8))
            terms.append(term)
        m.d.sync += self.o.eq(pipelined_tree(m, terms) + self.i_negatives)
        bounded(platform, self.o, "sum of one beat and row", "128 Kc", 128 * self.inputs, -128 * self.inputs)
        return m
