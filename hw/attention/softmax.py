"""This file turns the scores of one block of positions after the other into weights: the online softmax."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.exp2 import Exp2
from hw.bound import bounded
from hw.contract.config import BLOCK_POSITIONS, AccelConfig
from hw.contract.machine_float import FLOAT_BITS, FRACTION_BITS
from hw.float.add import FloatAdd
from hw.float.compare import float_greater, magnitude, negate
from hw.float.divide import FloatDivide
from hw.float.from_int import IntToFloat
from hw.float.mul import FloatMul
from hw.float.rounding import BIAS, exponent_field
from hw.float.scale import scaled
from hw.float.to_int import FloatToInt
from hw.watch import watch

__all__ = ["WEIGHT_BITS", "OnlineSoftmax", "score_word", "softmax_result"]

WEIGHT_BITS = 15
"""Unsigned width of a weight code."""

_ONE = BIAS << FRACTION_BITS

_ITEMS = BLOCK_POSITIONS + 2
"""What goes through the pipeline for a block: alpha, the positions, the sum of their powers."""

_SUM_BITS = 21


def score_word(config: AccelConfig) -> data.StructLayout:
    """One position of a block of one head: its score in the log2 domain and its value scale (not negative).

    A block is 1 to 16 words with increasing positions from its first; `last` marks its last valid position. `head`,
    `first_block` and `last_block` are taken from that last word; the head must be the same in all of them.
    """
    return data.StructLayout({
        "head": range(config.max_group),
        "score": FLOAT_BITS,
        "value_scale": FLOAT_BITS,
        "last": 1,
        "first_block": 1,
        "last_block": 1,
    })


def softmax_result(config: AccelConfig) -> data.StructLayout:
    """What a block does to the output of its head: acc = acc * alpha + F(sum weights * v) * 2^(E - 14).

    `exponent` is E + 127, 0 when all weights are. `inverse` is 1/l, valid together with `last_block`.
    """
    return data.StructLayout({
        "head": range(config.max_group),
        "alpha": FLOAT_BITS,
        "weights": data.ArrayLayout(unsigned(WEIGHT_BITS), BLOCK_POSITIONS),
        "exponent": 8,
        "last_block": 1,
        "inverse": FLOAT_BITS,
    })


class OnlineSoftmax(wiring.Component):
    """Online softmax of section 5 of docs/numerics.md with a running maximum m and total l for each head of a group.

    One subtractor, one power, one multiplier: the items alpha, 16 positions, sum of the powers go through them one per
    clock. The multiplier makes l * alpha, the weights, and passes the sum; the subtractor then adds the two totals.
    Positions beyond `last` get weight 0.

    Cycles: one score per clock into the block; `LATENCY` clocks from its last word to the result, `LAST_LATENCY` for
    the last block, where 1/l follows the sum. The next block is taken when the result has been.

    Members:
        i: scores.
        o: one result per block.
    """

    LATENCY = 1 + _ITEMS + FloatAdd.LATENCY + Exp2.LATENCY + IntToFloat.LATENCY + FloatMul.LATENCY \
        + BLOCK_POSITIONS + FloatToInt.LATENCY
    LAST_LATENCY = LATENCY - BLOCK_POSITIONS - FloatToInt.LATENCY + FloatAdd.LATENCY + FloatDivide.LATENCY

    def __init__(self, config: AccelConfig):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(score_word(config))),
            "o": Out(stream.Signature(softmax_result(config))),
        })

    def elaborate(self, platform):
        m = Module()
        result = self.o.payload
        state = data.StructLayout({"maximum": FLOAT_BITS, "total": FLOAT_BITS})
        m.submodules.states = states = memory.Memory(shape=state, depth=self.config.max_group, init=[])
        state_write, state_read = states.write_port(), states.read_port(domain="comb")
        pair = data.StructLayout({"score": FLOAT_BITS, "value_scale": FLOAT_BITS})
        m.submodules.block = block = memory.Memory(shape=pair, depth=BLOCK_POSITIONS, init=[])
        block_write = block.write_port()
        score_read, scale_read = block.read_port(domain="comb"), block.read_port(domain="comb")
        m.submodules.weights = weights = memory.Memory(shape=FLOAT_BITS, depth=BLOCK_POSITIONS, init=[])
        weight_write, weight_read = weights.write_port(), weights.read_port(domain="comb")

        # Collect: the maximum of the block, then of all blocks.
        taken = Signal()
        place, valid_positions = Signal(range(BLOCK_POSITIONS)), Signal(range(BLOCK_POSITIONS + 1))
        block_maximum, maximum = Signal(FLOAT_BITS), Signal(FLOAT_BITS)
        first_block = Signal()
        score = self.i.payload.score
        old = Signal(state)
        m.d.comb += [
            taken.eq(self.i.valid & self.i.ready),
            block_write.addr.eq(place),
            block_write.data.score.eq(score),
            block_write.data.value_scale.eq(self.i.payload.value_scale),
            block_write.en.eq(taken),
            state_read.addr.eq(result.head),
            old.eq(state_read.data),
            maximum.eq(Mux(~first_block & float_greater(old.maximum, block_maximum), old.maximum, block_maximum)),
        ]
        with m.If(taken):
            m.d.sync += place.eq(place + 1)
            with m.If((place == 0) | float_greater(score, block_maximum)):
                m.d.sync += block_maximum.eq(score)
            with m.If(self.i.payload.last):
                m.d.sync += [
                    place.eq(0),
                    valid_positions.eq(place + 1),
                    result.head.eq(self.i.payload.head),
                    result.last_block.eq(self.i.payload.last_block),
                    first_block.eq(self.i.payload.first_block),
                ]

        # Items: their number travels beside them. Number 0 is alpha, 17 the sum; what is above them is no item.
        item = Signal(range(_ITEMS + 1), init=_ITEMS)
        numbers = [item]
        for n in range(FloatAdd.LATENCY + Exp2.LATENCY + IntToFloat.LATENCY + FloatMul.LATENCY):
            delayed = Signal(range(_ITEMS + 1), init=_ITEMS, name=f"number_{n}")
            m.d.sync += delayed.eq(numbers[-1])
            numbers.append(delayed)
        powered = numbers[FloatAdd.LATENCY + Exp2.LATENCY]
        converted = numbers[FloatAdd.LATENCY + Exp2.LATENCY + IntToFloat.LATENCY]
        multiplied = numbers[-1]

        m.submodules.add = add = FloatAdd()
        m.submodules.exp2 = exp2 = Exp2()
        adding_totals = Signal()
        decayed_total = Signal(FLOAT_BITS)
        m.submodules.multiply = multiply = FloatMul()
        m.d.comb += [
            score_read.addr.eq(item - 1),
            add.a.eq(Mux(adding_totals, decayed_total, maximum)),
            add.b.eq(Mux(adding_totals, multiply.o, negate(Mux(item == 0, old.maximum, score_read.data.score)))),
            exp2.i.eq(add.o),
        ]

        power, power_sum = Signal(_SUM_BITS), Signal(_SUM_BITS)
        bounded(platform, power_sum, "sum of p", "16 * 65536", BLOCK_POSITIONS << 16)
        with m.If(powered == 0):
            m.d.comb += power.eq(Mux(first_block, 0, exp2.o))
            m.d.sync += power_sum.eq(0)
        with m.Elif(powered <= valid_positions):
            m.d.comb += power.eq(exp2.o)
            m.d.sync += power_sum.eq(power_sum + exp2.o)
            watch(m, platform, exp2.o <= 1 << 16, "a power is {}", exp2.o)
        with m.Elif(powered == _ITEMS - 1):
            m.d.comb += power.eq(power_sum)
            watch(m, platform, power_sum <= BLOCK_POSITIONS << 16, "the sum of powers is {}", power_sum)
        m.submodules.convert = convert = IntToFloat(_SUM_BITS + 1)
        m.d.comb += convert.i.eq(power)

        fraction = scaled(m, convert.o, Const(-16, 6))
        m.d.comb += [
            scale_read.addr.eq(converted - 1),
            multiply.a.eq(fraction),
            multiply.b.eq(scale_read.data.value_scale),
        ]
        with m.If(converted == 0):
            m.d.comb += multiply.b.eq(old.total)
            m.d.sync += result.alpha.eq(fraction)
        with m.If(converted == _ITEMS - 1):
            m.d.comb += multiply.b.eq(_ONE)

        largest = Signal(FLOAT_BITS - 1)
        m.d.comb += [
            weight_write.addr.eq(multiplied - 1),
            weight_write.data.eq(multiply.o),
            weight_write.en.eq((multiplied > 0) & (multiplied <= BLOCK_POSITIONS)),
        ]
        with m.If(multiplied == 0):
            m.d.sync += [decayed_total.eq(multiply.o), largest.eq(0)]
        with m.Elif(weight_write.en & (magnitude(multiply.o) > largest)):
            m.d.sync += largest.eq(magnitude(multiply.o))

        # The totals are added while the weights become codes.
        m.submodules.to_int = to_int = FloatToInt(WEIGHT_BITS + 1, 2**WEIGHT_BITS - 1)
        step = Signal(range(BLOCK_POSITIONS + FloatToInt.LATENCY))
        m.submodules.divide = divide = FloatDivide()
        m.d.comb += [
            adding_totals.eq(multiplied == _ITEMS - 1),
            weight_read.addr.eq(step),
            to_int.i.eq(weight_read.data),
            to_int.shift.eq(WEIGHT_BITS - 1 + BIAS - exponent_field(largest)),
            state_write.addr.eq(result.head),
            state_write.data.maximum.eq(maximum),
            state_write.data.total.eq(add.o),
            divide.a.eq(_ONE),
            divide.b.eq(add.o),
            result.inverse.eq(divide.o),
            result.exponent.eq(exponent_field(largest)),
        ]
        with m.FSM():
            with m.State("collect"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(taken & self.i.payload.last):
                    m.d.sync += item.eq(0)
                    m.next = "items"
            with m.State("items"):
                with m.If(item < _ITEMS):
                    m.d.sync += item.eq(item + 1)
                with m.If(adding_totals):
                    m.next = "codes"
            with m.State("codes"):
                m.d.sync += step.eq(step + 1)
                for n in range(BLOCK_POSITIONS):
                    with m.If(step == n + FloatToInt.LATENCY):
                        watch(m, platform, to_int.o >= 0, "a weight is {}", to_int.o)
                        m.d.sync += result.weights[n].eq(to_int.o.as_unsigned())
                with m.If(step == FloatAdd.LATENCY - 1):
                    m.d.comb += [state_write.en.eq(1), divide.start.eq(result.last_block)]
                with m.If(step == BLOCK_POSITIONS + FloatToInt.LATENCY - 1):
                    m.d.sync += step.eq(0)
                    m.next = "give"
                    with m.If(result.last_block):
                        m.next = "divide"
            with m.State("divide"), m.If(divide.done):
                m.next = "give"
            with m.State("give"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "collect"
        return m
