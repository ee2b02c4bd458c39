"""This file computes how far the dot product of a row can be from its high plane: section 7.2 of docs/numerics.md."""

from __future__ import annotations

import math

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.bound import bounded
from hw.contract.config import AccelConfig
from hw.contract.high_plane import GUARD_BITS, GUARD_FRACTION_BITS, largest_reach
from hw.dot.adder_tree import pipelined_tree
from hw.dot.interfaces import ACTIVATION_BITS, activation_word
from hw.watch import watch, watch_range

__all__ = ["Reach"]

MOST_SQUARE = (2 ** (ACTIVATION_BITS - 1) - 1) ** 2
"""That of the largest activation."""


class Reach(wiring.Component):
    """Computes reach = floor((isqrt(sum of a16^2) + 1) * guard / 2^8) + 1 of a vector of activations on its way.

    The sum takes a word per clock, in a stage each for the squares, each level of their adder tree, and the sum. When
    the last word is in it, the root comes with a clock per bit, then the product with a clock per bit of `guard`: there
    is one vector per pass, and nothing needs the reach before the rows come.

    Rules: from `ended` until `valid` no word comes. A `start` forgets the vector before, also one under way.

    Latency: `latency` clocks from `ended` to `valid`, for all numbers: 41 on `tiny`, 42 on `kv260`. Cost: Q
    multipliers.

    Members:
        start: a pulse before the first word of a vector.
        i: activation_word, of one row; the codes behind the end of the vector are 0.
        ended: a pulse, together with the last word or later.
        guard: steady from `ended` until `valid`.
        reach: right while `valid`.
        valid: the reach has been computed; until the next `start`.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        most = MOST_SQUARE * config.max_hidden
        self.root_bits = math.isqrt(most).bit_length()
        self.sum_clocks = 2 + exact_log2(config.quantize_lanes)
        super().__init__({
            "start": In(1),
            "i": In(stream.Signature(activation_word(config), always_ready=True)),
            "ended": In(1),
            "guard": In(GUARD_BITS),
            "reach": Out(range(largest_reach(config) + 1)),
            "valid": Out(1),
        })

    @property
    def latency(self) -> int:
        """Clocks from `ended` to `valid`."""
        return self.sum_clocks + self.root_bits + GUARD_BITS

    def elaborate(self, platform: object) -> Module:
        m = Module()
        squares = []
        for n, code in enumerate(self.i.payload.codes):
            square = Signal(range(MOST_SQUARE + 1), name=f"square_{n}")
            m.d.sync += square.eq(code * code)
            bounded(platform, square, "square of an activation of the head", "32767^2", MOST_SQUARE)
            squares.append(square)
            with m.If(self.i.valid):
                watch_range(m, platform, code, math.isqrt(MOST_SQUARE), f"activation {n}")
        total = pipelined_tree(m, squares)
        words, ends = (Signal(self.sum_clocks - 1, name=name) for name in ("words", "ends"))  # by stage
        m.d.sync += [words.eq(Cat(self.i.valid, words)), ends.eq(Cat(self.ended, ends))]

        # The sum is the radicand; the root becomes the factor of `guard`, which is shifted as `reach` gets its digits.
        radicand, remainder = Signal(2 * self.root_bits), Signal(self.root_bits + 1)
        root, product = (Signal(range(largest_reach(self.config) + 1 << GUARD_FRACTION_BITS), name=name)
                         for name in ("root", "product"))
        candidate, trial, fits = Signal(self.root_bits + 3), Signal(self.root_bits + 2), Signal()
        factor, left = Signal(GUARD_BITS), Signal(range(max(self.root_bits, GUARD_BITS)))
        m.d.comb += [
            candidate.eq(Cat(radicand[-2:], remainder)),
            trial.eq(Cat(Const(1, 2), root[:self.root_bits])),
            fits.eq(candidate >= trial),
            self.reach.eq(product >> GUARD_FRACTION_BITS),
        ]
        m.d.sync += left.eq(left - 1)
        with m.FSM() as fsm:
            with m.State("SUM"):
                m.d.sync += [root.eq(0), remainder.eq(0), left.eq(self.root_bits - 1)]
                with m.If(words[-1]):
                    m.d.sync += radicand.eq(radicand + total)
                with m.If(ends[-1] & ~self.start):
                    m.next = "ROOT"
            with m.State("ROOT"):
                m.d.sync += [
                    radicand.eq(radicand << 2),
                    root.eq(Cat(fits, root)),
                    remainder.eq(Mux(fits, candidate - trial, candidate)),
                    factor.eq(self.guard),
                    product.eq(self.guard + (1 << GUARD_FRACTION_BITS)),  # that of root + 1, and the 1 behind the shift
                ]
                with m.If(left == 0):
                    m.d.sync += left.eq(GUARD_BITS - 1)
                    m.next = "PRODUCT"
                with m.If(self.start):
                    m.next = "SUM"
            with m.State("PRODUCT"):
                m.d.sync += [product.eq(product + Mux(factor[0], root, 0)), root.eq(root << 1), factor.eq(factor >> 1)]
                with m.If(left == 0):
                    m.d.sync += self.valid.eq(1)
                with m.If((left == 0) | self.start):
                    m.next = "SUM"
        with m.If(self.start):
            m.d.sync += [words.eq(0), ends.eq(0), radicand.eq(0), self.valid.eq(0)]
        bounded(platform, radicand, "sum of squares of the activations of the head", "32767^2 max_hidden",
                MOST_SQUARE * self.config.max_hidden)
        bounded(platform, root[:self.root_bits], "root of the sum of squares", "32767 max_hidden^0.5",
                math.isqrt(MOST_SQUARE * self.config.max_hidden))
        bounded(platform, self.reach, "reach of the high plane", "(32767 max_hidden^0.5 + 1) 65535 / 256 + 1",
                largest_reach(self.config))
        busy = ends.any() | ~fsm.ongoing("SUM")
        watch(m, platform, ~self.i.valid | ~busy, "a word comes behind the end of its vector")
        return m
