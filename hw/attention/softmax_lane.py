"""This file computes the softmax of one query row of every set: scores, running maximum, weights."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.exp2 import Exp2
from hw.bound import bounded
from hw.contract.config import BLOCK_POSITIONS, AccelConfig
from hw.contract.machine_float import FLOAT_BITS, FRACTION_BITS
from hw.delay import delayed
from hw.dot.interfaces import POSITION_BITS, WEIGHT_BITS, score_sum_bits, softmax_sets
from hw.dot.scaled_sum import ScaledSum
from hw.float.add import FloatAdd
from hw.float.compare import float_greater, negate
from hw.float.from_int import IntToFloat
from hw.float.mul import FloatMul
from hw.float.rounding import BIAS
from hw.float.scale import scaled
from hw.float.to_int import FloatToInt
from hw.watch import watch

__all__ = ["KINDS", "SETS_IN_FLIGHT", "SoftmaxLane", "lane_item", "lane_result", "lane_total"]

SETS_IN_FLIGHT = 4
"""Sets of rows whose facts are kept, from the first score to the total: one is scored, one waits or is weighed, and the
totals of one before are added; a power of two."""

KINDS = data.StructLayout({"position": 1, "last": 1, "alpha": 1, "total": 1})
"""What an item is: a position, `last` with the last of its set; alpha; the sum of the powers. None of them: no item."""

_ONE = BIAS << FRACTION_BITS
_LARGEST_SUM = BLOCK_POSITIONS << 16

_MAXIMA = data.StructLayout({"new": FLOAT_BITS, "old": FLOAT_BITS})
"""The running maximum with a block and before it."""


def lane_item(config: AccelConfig) -> data.StructLayout:
    """The item at a stage of the pipeline: its kind, its position, the number of its set modulo `SETS_IN_FLIGHT`, which
    set of the block this is, whether the block is the first, whether the position is valid."""
    return data.StructLayout({
        "kinds": KINDS, "place": unsigned(POSITION_BITS), "number": range(SETS_IN_FLIGHT),
        "set": range(softmax_sets(config)), "first": 1, "valid": 1,
    })


def lane_result() -> data.StructLayout:
    """Of a set whose sum of powers has passed: alpha, l * alpha, F(sum p) * 2^-16, exponent field of E_v."""
    return data.StructLayout({"alpha": FLOAT_BITS, "decayed": FLOAT_BITS, "fresh": FLOAT_BITS, "exponent": 8})


def lane_total(config: AccelConfig) -> data.StructLayout:
    """The new total of the row of a set, while `here`."""
    return data.StructLayout({"here": 1, "set": range(softmax_sets(config)), "value": FLOAT_BITS})


class SoftmaxLane(wiring.Component):
    """Online softmax of section 5 of docs/numerics.md for one of L rows that go through the same steps side by side.

    Two pipelines without stalls, with a memory of the scores of two sets between them. The first makes scores, the
    running maximum, and the largest exponent of a value scale; the second makes powers and weights. `BlockSoftmax`
    says which item is at which stage.

    Latency: an item of the first pipeline is at `arriving` with its sum and its scales and at `scored` `SCORED` clocks
    later. One of the second is `powered`, `multiplied` and `weighed` so many clocks after it was `issued`, and its
    weight is there after `WEIGHT`. One item per clock each.

    Members:
        scale_write: a query scale of the row: bank, set, and the scale, while `here`.
        arriving, scored: items of the first pipeline.
        scale_bank: the bank of the query scales of what is `arriving`.
        sum, key_scale, value_exponent: the dot product of what is `arriving`, and of its scales.
        issued, powered, weighed: items of the second pipeline.
        value_scale: magnitude of the value scale of what is multiplied.
        total: what is to be l of the row.
        weight: the code.
        result: for the totals; from the clock after the sum was `weighed` until the next alpha is multiplied.
    """

    SCORED = ScaledSum.LATENCY
    POWERED = 1 + FloatAdd.LATENCY + Exp2.LATENCY
    MULTIPLIED = POWERED + IntToFloat.LATENCY
    WEIGHED = MULTIPLIED + FloatMul.LATENCY
    WEIGHT = WEIGHED + FloatToInt.LATENCY

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        item, sets = lane_item(config), range(softmax_sets(config))
        super().__init__({
            "scale_write": In(data.StructLayout({"here": 1, "bank": 2, "set": sets, "scale": FLOAT_BITS})),
            "arriving": In(item),
            "scored": In(item),
            "scale_bank": In(2),
            "sum": In(signed(score_sum_bits(config))),
            "key_scale": In(FLOAT_BITS),
            "value_exponent": In(8),
            "issued": In(item),
            "powered": In(item),
            "weighed": In(item),
            "value_scale": In(FLOAT_BITS - 1),
            "total": In(lane_total(config)),
            "weight": Out(WEIGHT_BITS),
            "result": Out(lane_result()),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.scores = scores = memory.Memory(shape=FLOAT_BITS, depth=2 * BLOCK_POSITIONS, init=[])
        m.submodules.maxima = maxima = memory.Memory(shape=_MAXIMA, depth=SETS_IN_FLIGHT, init=[])
        m.submodules.exponents = exponents = memory.Memory(shape=8, depth=SETS_IN_FLIGHT, init=[])
        self._largest_exponent(m, exponents)
        self._score(m, scores, maxima)
        power = self._power(m, platform, scores, maxima)
        self._weigh(m, platform, power, exponents)
        return m

    def _largest_exponent(self, m: Module, exponents: memory.Memory) -> None:
        """That of the valid positions of a set so far is kept for the number of the set."""
        arriving, write, read = self.arriving, exponents.write_port(), exponents.read_port(domain="comb")
        known = Signal(8)
        m.d.comb += [
            read.addr.eq(arriving.number),
            known.eq(Mux(arriving.place == 0, 0, read.data)),
            write.addr.eq(arriving.number),
            write.data.eq(Mux(arriving.valid & (self.value_exponent > known), self.value_exponent, known)),
            write.en.eq(arriving.kinds.position),
        ]

    def _score(self, m: Module, scores: memory.Memory, maxima: memory.Memory) -> None:
        """Scores of all positions go to the memory, and the maximum of the valid ones and of the blocks before."""
        bank_rows = 1 << len(Value.cast(self.arriving.set))
        m.submodules.scales = scales = memory.Memory(shape=FLOAT_BITS, depth=4 * bank_rows, init=[])
        m.submodules.states = states = memory.Memory(
            shape=FLOAT_BITS, depth=softmax_sets(self.config), init=[])
        scale_write, scale_read = scales.write_port(), scales.read_port(domain="comb")
        state_write, state_read = states.write_port(), states.read_port(domain="comb")
        score_write, maxima_write = scores.write_port(), maxima.write_port()
        m.submodules.scaled_sum = scaled_sum = ScaledSum(score_sum_bits(self.config))

        scored = self.scored
        running, known, maximum = Signal(FLOAT_BITS), Signal(FLOAT_BITS), Signal(FLOAT_BITS)
        begins, greater = Signal(), Signal()
        m.d.comb += [
            scale_write.addr.eq(Cat(self.scale_write.set, self.scale_write.bank)),
            scale_write.data.eq(self.scale_write.scale),
            scale_write.en.eq(self.scale_write.here),
            scale_read.addr.eq(Cat(self.arriving.set, self.scale_bank)),
            scaled_sum.i.eq(self.sum),
            scaled_sum.a.eq(scale_read.data),
            scaled_sum.b.eq(self.key_scale),
            # The first position of a first block is valid in every row that is in use; in others the maximum has no
            # meaning, and their powers count nothing.
            begins.eq(scored.place == 0),
            state_read.addr.eq(scored.set),
            known.eq(Mux(begins, state_read.data, running)),
            greater.eq(scored.valid & float_greater(scaled_sum.o, known) | begins & scored.first),
            maximum.eq(Mux(greater, scaled_sum.o, known)),
            state_write.addr.eq(scored.set),
            state_write.data.eq(maximum),
            state_write.en.eq(scored.kinds.last),
            maxima_write.addr.eq(scored.number),
            maxima_write.data.old.eq(state_read.data),
            maxima_write.data.new.eq(maximum),
            maxima_write.en.eq(scored.kinds.last),
            score_write.addr.eq(Cat(scored.place, scored.number[0])),
            score_write.data.eq(scaled_sum.o),
            score_write.en.eq(scored.kinds.position),
        ]
        with m.If(scored.kinds.position):
            m.d.sync += running.eq(maximum)

    def _power(self, m: Module, platform: object, scores: memory.Memory, maxima: memory.Memory) -> Signal:
        """What becomes a float: alpha, the power of a valid position or 0, or the sum of the powers."""
        score_read, maxima_read = scores.read_port(), maxima.read_port(domain="comb")
        m.submodules.add = add = FloatAdd()
        m.submodules.exp2 = exp2 = Exp2()
        fetched = delayed(m, self.issued, 1, name="fetched")
        m.d.comb += [
            score_read.addr.eq(Cat(self.issued.place, self.issued.number[0])),
            maxima_read.addr.eq(fetched.number),
            add.a.eq(maxima_read.data.new),
            add.b.eq(negate(Mux(fetched.kinds.alpha, maxima_read.data.old, score_read.data))),
            exp2.i.eq(add.o),
        ]
        powered = self.powered
        power, power_sum = Signal(range(_LARGEST_SUM + 1)), Signal(range(_LARGEST_SUM + 1))
        bounded(platform, power_sum, "sum of p", "64 * 65536", _LARGEST_SUM)
        with m.If(powered.kinds.total):
            m.d.comb += power.eq(power_sum)
            m.d.sync += power_sum.eq(0)
            watch(m, platform, power_sum <= _LARGEST_SUM, "the sum of powers is {}", power_sum)
        with m.Elif(powered.kinds.alpha):
            m.d.comb += power.eq(Mux(powered.first, 0, exp2.o))
        with m.Elif(powered.kinds.position & powered.valid):
            m.d.comb += power.eq(exp2.o)
            m.d.sync += power_sum.eq(power_sum + exp2.o)
            watch(m, platform, exp2.o <= 1 << 16, "a power is {}", exp2.o)
        return power

    def _weigh(self, m: Module, platform: object, power: Signal, exponents: memory.Memory) -> None:
        """A position becomes a code; alpha and the sum are kept for the totals."""
        m.submodules.totals = totals = memory.Memory(shape=FLOAT_BITS, depth=softmax_sets(self.config), init=[])
        total_write, total_read = totals.write_port(), totals.read_port(domain="comb")
        exponent_read = exponents.read_port(domain="comb")
        m.submodules.convert = convert = IntToFloat(len(power) + 1)
        m.submodules.multiply = multiply = FloatMul()
        m.submodules.to_int = to_int = FloatToInt(WEIGHT_BITS + 1, 2**WEIGHT_BITS - 1)
        multiplied, weighed = delayed(m, self.powered, IntToFloat.LATENCY, name="multiplied"), self.weighed
        fraction = scaled(m, convert.o, Const(-16, 6))
        m.d.comb += [
            total_write.addr.eq(self.total.set),
            total_write.data.eq(self.total.value),
            total_write.en.eq(self.total.here),
            total_read.addr.eq(multiplied.set),
            convert.i.eq(power),
            multiply.a.eq(fraction),
            multiply.b.eq(self.value_scale),
            exponent_read.addr.eq(weighed.number),
            to_int.i.eq(multiply.o),
            to_int.shift.eq(WEIGHT_BITS - 1 + BIAS - exponent_read.data),
            self.weight.eq(to_int.o.as_unsigned()),
        ]
        with m.If(multiplied.kinds.total):
            m.d.comb += multiply.b.eq(_ONE)
        with m.If(multiplied.kinds.alpha):
            m.d.comb += multiply.b.eq(total_read.data)
            m.d.sync += self.result.alpha.eq(fraction)
        with m.If(weighed.kinds.alpha):
            m.d.sync += self.result.decayed.eq(multiply.o)
        with m.If(weighed.kinds.total):
            m.d.sync += [self.result.fresh.eq(multiply.o), self.result.exponent.eq(exponent_read.data)]
        bounded(platform, self.weight, "softmax weight", "2^17 - 1", 2**WEIGHT_BITS - 1)
        watch(m, platform, to_int.o >= 0, "a weight is {}", to_int.o)
