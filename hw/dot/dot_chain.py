"""A dot product per clock along a chain of multipliers with registers between their sums: a cascade of DSP blocks."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["DotChain"]


class DotChain(wiring.Component):
    """Computes the dot product of codes with as many operands.

    Lane e adds its product to the sum of lane e - 1. Factors, products and sums have registers, without an enable, as
    the multiplier, the adder and the cascade of a DSP48 have: a lane is one DSP block and needs no logic. Multipliers
    without an adder are followed by adders from LUTs.

    Rules: code and operand of lane e come e clocks after those of lane 0.

    Latency: `latency` clocks from the factors of lane 0 to the sum. Throughput: one dot product per clock.

    Args:
        lanes: codes of a dot product.
        code_bits: signed width of a code.
        operand_bits: signed width of an operand.

    Members:
        codes: a code for each lane.
        operands: an operand for each lane.
        o: the sum; wide enough for any codes and operands.
    """

    def __init__(self, lanes: int, code_bits: int, operand_bits: int) -> None:
        self.lanes, self.code_bits, self.operand_bits = lanes, code_bits, operand_bits
        self.product_bits = operand_bits + code_bits
        super().__init__({
            "codes": In(data.ArrayLayout(signed(code_bits), self.lanes)),
            "operands": In(data.ArrayLayout(signed(operand_bits), self.lanes)),
            "o": Out(signed(self.product_bits + ceil_log2(self.lanes))),
        })

    @property
    def latency(self) -> int:
        """Clocks from the factors of lane 0 to the sum of all lanes."""
        return 3 + self.lanes - 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        before: Value | None = None
        for lane in range(self.lanes):
            code = Signal(signed(self.code_bits), name=f"code_{lane}")
            operand = Signal(signed(self.operand_bits), name=f"operand_{lane}")
            product = Signal(signed(self.product_bits), name=f"product_{lane}")
            total = Signal(signed(self.product_bits + ceil_log2(lane + 1)), name=f"total_{lane}")
            m.d.sync += [
                code.eq(self.codes[lane]),
                operand.eq(self.operands[lane]),
                product.eq(operand * code),
                total.eq(product if before is None else before + product),
            ]
            before = total
        m.d.comb += self.o.eq(before)
        return m
