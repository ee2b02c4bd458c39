"""Multiplication of rows of memory with 16-bit operands: keys with the query, LM head rows with the last hidden state.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.contract.config import AccelConfig
from hw.delay import delayed
from hw.dot.adder_tree import pipelined_tree
from hw.watch import watch_range, watch_stream

__all__ = ["OPERAND_BITS", "DotEngine", "dot_latency", "dot_word"]

OPERAND_BITS = 16
"""Signed width of a query code, a softmax weight or an activation of the LM head."""

_LARGEST_OPERAND = 2 ** (OPERAND_BITS - 1) - 1


def dot_word(lanes: int) -> data.StructLayout:
    """One beat of a row, `lanes` bytes with an operand each, and whether it is the first or last beat of its row.

    The two bytes of a 16-bit element come with the same operand.
    """
    return data.StructLayout({
        "beat": data.ArrayLayout(unsigned(8), lanes),
        "operands": data.ArrayLayout(signed(OPERAND_BITS), lanes),
        "first": 1,
        "last": 1,
    })


def dot_latency(lanes: int) -> int:
    """Clocks from the last beat of a row to its sum: operands, products, tree, accumulator."""
    return 2 + ceil_log2(lanes) + 1


class DotEngine(wiring.Component):
    """Computes exact dot products of rows in memory with 16-bit operands.

    A beat has one 16 x 9 multiplier per byte. A 16-bit element uses two lanes: the low byte, at the even place, is
    unsigned; the high byte is signed, and its product counts 256 times. A tree adds the lanes, and an accumulator adds
    the beats of a row.

    Rules: a sum that is not accepted stops the whole pipeline.

    Latency: a sum is valid `latency` clocks after its last beat. Throughput: one beat per clock.

    Args:
        lanes: bytes of a beat: of a memory port, or of the packet stream.
        element_bits: 8 or 16, bits of an element in memory.
        max_elements: elements of the longest row. It determines `sum_bits`, the width of a sum, because no code exceeds
            2^(bits-1) - 1 in magnitude.

    Members:
        i: beats with their operands.
        o: one exact sum per row.
    """

    def __init__(self, config: AccelConfig, *, lanes: int, element_bits: int, max_elements: int):
        if element_bits not in (8, 16):
            raise ValueError(f"element_bits must be 8 or 16, not {element_bits}")
        if max_elements < 1:
            raise ValueError(f"max_elements must be at least 1, not {max_elements}")
        self.config = config
        self.lanes = lanes
        self.element_bits = element_bits
        self.largest = _LARGEST_OPERAND * (2 ** (element_bits - 1) - 1) * max_elements
        self.sum_bits = self.largest.bit_length() + 1
        super().__init__({
            "i": In(stream.Signature(dot_word(lanes))),
            "o": Out(stream.Signature(signed(self.sum_bits))),
        })
        self.accumulator = Signal(signed(self.sum_bits))  # of a row; its users declare its bound

    @property
    def latency(self) -> int:
        """Clocks from the last beat of a row to its sum."""
        return dot_latency(self.lanes)

    def elaborate(self, platform):
        m = Module()
        watch_stream(m, platform, self.o, "o")
        advance = Signal()
        m.d.comb += [advance.eq(~self.o.valid | self.o.ready), self.i.ready.eq(advance)]

        with m.If(advance):
            # The flags travel beside the data: {valid, first, last}.
            flags = Cat(self.i.valid, self.i.payload.first, self.i.payload.last)
            flags = delayed(m, flags, self.latency - 1, name="flags")
            terms = self._elements(m, [self._product(m, n) for n in range(self.lanes)])
            tree = pipelined_tree(m, terms)

            valid, first, last = flags[0], flags[1], flags[2]
            kept = Signal(signed(self.sum_bits))
            total = Signal(signed(self.sum_bits))
            m.d.sync += self.o.valid.eq(valid & last)
            with m.If(valid):
                m.d.sync += [self.accumulator.eq(total), self.o.payload.eq(total)]
                watch_range(m, platform, kept + tree, self.largest, "a sum")
        m.d.comb += [kept.eq(Mux(first, 0, self.accumulator)), total.eq(kept + tree)]
        return m

    def _product(self, m: Module, lane: int) -> Signal:
        """Product of a lane, with registers before and after the multiplier."""
        byte = self.i.payload.beat[lane]
        is_low = self.element_bits == 16 and lane % 2 == 0
        factor = Signal(signed(9), name=f"factor_{lane}")
        operand = Signal(signed(OPERAND_BITS), name=f"operand_{lane}")
        product = Signal(signed(OPERAND_BITS + 8), name=f"product_{lane}")
        m.d.sync += [
            factor.eq(Cat(byte, Const(0, 1) if is_low else byte[7]).as_signed()),
            operand.eq(self.i.payload.operands[lane]),
            product.eq(operand * factor),
        ]
        return product

    def _elements(self, m: Module, products: list[Signal]) -> list[Signal]:
        """Products of whole elements: those of the lanes, or after one more register those of pairs of lanes."""
        if self.element_bits == 8:
            return products
        elements = []
        for n in range(0, len(products), 2):
            element = Signal(signed(2 * OPERAND_BITS), name=f"element_{n // 2}")
            # The low byte of the weighted product is zero: only the upper parts are added.
            low, high = products[n], products[n + 1]
            upper = Signal(signed(OPERAND_BITS + 8), name=f"upper_{n // 2}")
            m.d.comb += upper.eq(high + low[8:].as_signed())
            m.d.sync += element.eq(Cat(low[:8], upper).as_signed())
            elements.append(element)
        return elements
