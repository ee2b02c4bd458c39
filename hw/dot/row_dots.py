"""Dot products of D rows of operands with the beat of every port, in chains of DSP blocks."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.contract.config import AccelConfig
from hw.contract.payloads import stream_beat
from hw.delay import delayed
from hw.dot.dot_chain import DotChain

__all__ = ["RowDots", "byte_operands"]


def byte_operands(config: AccelConfig, operand_bits: int) -> data.ArrayLayout:
    """For each byte of a port beat the operands of D rows."""
    return data.ArrayLayout(data.ArrayLayout(signed(operand_bits), config.query_rows), config.beat_bytes)


class RowDots(wiring.Component):
    """Multiplies the beat of every port with the operands of D rows: D P dot products.

    A beat holds E cached elements of a port, or as many int8 elements of the LM head as a port beat has bytes. With
    8-bit elements in the cache these are the same. A 16-bit element is two bytes, the low one unsigned: even and odd
    bytes have chains of their own, and the sum of the odd ones counts 256 times for cached elements, once for those of
    the LM head. So both come at the rate of the memory.

    Element e of every chain works e clocks after element 0, so that sums go from one DSP block to the next. The codes
    wait in delay lines, which are shift registers without a reset. The memory of the operands is read as late
    (`Operands`).

    A beat of the high plane of a split head has two codes of four bits in a byte: the low one meets row 0 of the
    operands, the high one row 1.

    Rules: operands of byte b come b clocks after their beat; b // 2 with 16-bit elements. Nothing can wait.

    Latency: `latency` clocks from the beat to `dots`. Throughput: one beat per clock.

    Args:
        operand_bits: signed width of an operand.
        tag: shape of what accompanies a beat.

    Members:
        beat: stream_beat.
        head: beats are those of the LM head; steady while one is under way.
        high: they are those of the high plane, on a machine with a split head; likewise.
        operands: byte_operands. The two bytes of a cached 16-bit element come with the same operand.
        tag: of the beat.
        coming: the tag of the dots of the next clock.
        done: the tag of the dots.
        dots: for each row those of P ports.
    """

    def __init__(self, config: AccelConfig, *, operand_bits: int, tag: Any) -> None:
        self.config, self.operand_bits = config, operand_bits
        self.code_bits = 8 if config.kv_bytes == 1 else 9
        self.dot_bits = operand_bits + config.kv_bits + ceil_log2(config.kv_elements)
        self._chains = {
            (row, port, part): DotChain(config.kv_elements, self.code_bits, operand_bits)
            for row in range(config.query_rows) for port in range(config.ports) for part in range(config.kv_bytes)}
        dots = data.ArrayLayout(signed(self.dot_bits), config.ports)
        super().__init__({
            "beat": In(stream_beat(config)),
            "head": In(1),
            **({"high": In(1)} if config.candidates else {}),
            "operands": In(byte_operands(config, operand_bits)),
            "tag": In(tag),
            "coming": Out(tag),
            "done": Out(tag),
            "dots": Out(data.ArrayLayout(dots, config.query_rows)),
        })

    @property
    def latency(self) -> int:
        """Clocks from a beat to its dots."""
        return self._chains[0, 0, 0].latency + self.config.kv_bytes - 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, parts = self.config, self.config.kv_bytes
        m.d.comb += self.coming.eq(delayed(m, self.tag, self.latency - 1, name="tag"))
        m.d.sync += self.done.eq(self.coming)
        for port in range(config.ports):
            codes = [self._late_code(m, port, byte) for byte in range(config.beat_bytes)]
            for row in range(config.query_rows):
                sums: list[Value] = []
                for part in range(parts):
                    chain = self._chains[row, port, part]
                    m.submodules[f"chain_{row}_{port}" + f"_{part}" * (parts - 1)] = chain
                    for lane in range(config.kv_elements):
                        byte = lane * parts + part
                        m.d.comb += [
                            chain.codes[lane].eq(self._code_of(row, codes[byte])),
                            chain.operands[lane].eq(self.operands[byte][row]),
                        ]
                    sums.append(chain.o)
                # With a name of its own, for ABC9 of Yosys takes `dots[0]`, a field, for a bit of the port `dots`.
                dot = Signal(signed(self.dot_bits), name=f"dot_{row}_{port}")
                if parts == 1:
                    m.d.comb += dot.eq(sums[0])
                else:
                    m.d.sync += dot.eq(sums[0] + Mux(self.head, sums[1], sums[1] << 8))
                m.d.comb += self.dots[row][port].eq(dot)
        return m

    def _code_of(self, row: int, code: Value) -> Value:
        """What a row of operands meets of a byte."""
        if not self.config.candidates or row > 1:
            return code
        return Mux(self.high, code[4 * row : 4 * row + 4].as_signed(), code)

    def _late_code(self, m: Module, port: int, byte: int) -> Value:
        """A byte as a signed code, with its element's delay. The low byte of a cached element is unsigned."""
        config, code = self.config, self.beat.as_value().word_select(port * self.config.beat_bytes + byte, 8)
        if config.kv_bytes == 2:
            code = Cat(code, code[7] & (self.head if byte % 2 == 0 else 1))
        for n in range(byte // config.kv_bytes):
            stage = Signal(self.code_bits, name=f"code_{port}_{byte}_{n + 1}", reset_less=True)
            m.d.sync += stage.eq(code)
            code = stage
        return code.as_signed()
