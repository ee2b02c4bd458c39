"""The memory of the operands of the dot products: queries and softmax weights, or activations of the LM head."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hw.contract.config import BLOCK_POSITIONS, AccelConfig
from hw.contract.head_layout import HeadLayout
from hw.contract.kv_layout import KvLayout
from hw.delay import delayed
from hw.dot.banks import banked_memory
from hw.dot.interfaces import OPERAND_BITS, activation_word, query_word, weight_word
from hw.dot.row_dots import byte_operands

__all__ = ["Operands", "activation_address", "operand_address", "operand_depth"]


def _index_bits(config: AccelConfig) -> tuple[int, int]:
    """Bits of the index of a query word, a beat of a key, and of a weight word, a group of values. Both banks of the
    queries together hold the beats of a row of the LM head."""
    keys, head = KvLayout.longest(config).key_beats, HeadLayout.longest(config).row_beats
    return max(ceil_log2(keys), ceil_log2(head) - 1), exact_log2(BLOCK_POSITIONS // config.kv_elements)


def operand_address(config: AccelConfig, *, weights: Value, bank: Value, index: Value) -> Value:
    """Place of a word in the memory of a lane: the kind with more words first, each in two banks. `index` is the beat
    of a key or the group of values."""
    queries, groups = _index_bits(config)
    more, fewer = max(queries, groups), min(queries, groups)
    index = index | C(0, more)  # as wide at least
    in_first, in_second = Cat(index[:more], bank), Cat(index[:fewer], bank, C(0, more - fewer), C(1, 1))
    return Mux(weights, in_second, in_first) if queries >= groups else Mux(weights, in_first, in_second)


def activation_address(config: AccelConfig, beat: Value) -> Value:
    """Place of the activations of a beat of a row of the LM head: in the banks of the queries, one behind the other."""
    queries, _ = _index_bits(config)
    beat = beat | C(0, queries + 1)
    return operand_address(config, weights=C(0, 1), bank=beat[queries], index=beat[:queries])


def operand_depth(config: AccelConfig) -> int:
    """Words of the memory of a lane."""
    return sum(2 << bits for bits in _index_bits(config))


class Operands(wiring.Component):
    """Holds two banks of the query codes of a pass and two banks of the softmax weights of a block; or, in the place of
    the queries, the activations of the LM head.

    Each byte of a port beat has a memory of its own, whose words have an operand for each of D rows. Byte b of beat n
    of a key row belongs to element n E + b (16-bit elements: b // 2), byte b of group n of values to the position of
    that number, and byte b of beat n of a row of the LM head to activation n B + b, B bytes in a port beat. The address
    of a read goes from element to element, a clock each, as `RowDots` wants it.

    For a split head, beats n with an even number are row 0 of word n / 2, the others row 1 of word (n - 1) / 2.

    Rules: weights and activations are always taken, never in the same clock, and a query waits for them. Rows that are
    not written keep what they had. A word is in place for a read that starts two clocks after it was taken.

    Latency: a read gives the operands of element 0 one clock later, those of element e one clock and e clocks later.
    Throughput: a read and a write per clock.

    Members:
        i_query: query_word.
        i_weights: weight_word.
        i_activations: activation_word.
        split: activations are those of a split head, on a machine that has one.
        address: of a read, from `operand_address` or `activation_address`.
        operands: byte_operands.
    """

    LATENCY = 1

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i_query": In(stream.Signature(query_word(config))),
            "i_weights": In(stream.Signature(weight_word(config), always_ready=True)),
            "i_activations": In(stream.Signature(activation_word(config), always_ready=True)),
            **({"split": In(1)} if config.candidates else {}),
            "address": In(range(operand_depth(config))),
            "operands": Out(byte_operands(config, OPERAND_BITS)),
        })
        # what is written, a clock after it was taken: the address, the codes of so many bytes in turn, bytes, rows
        self._turn = max(config.vector * config.kv_bytes, config.quantize_lanes)
        self._place = Signal.like(self.address, name="place")
        self._codes = Signal(data.ArrayLayout(
            data.ArrayLayout(unsigned(OPERAND_BITS), config.query_rows), self._turn), name="codes")
        self._bytes = Signal(config.beat_bytes, name="bytes")
        self._rows = Signal(config.query_rows, name="rows")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        self._write(m)
        address = self.address
        for byte in range(config.beat_bytes):
            # unsigned, since a memory of signed elements cannot be written by element
            m.submodules[f"byte_{byte}"] = store = banked_memory(
                data.ArrayLayout(unsigned(OPERAND_BITS), config.query_rows), operand_depth(config))
            write, read = store.write_port(granularity=1), store.read_port()
            m.d.comb += [
                write.addr.eq(self._place),
                write.data.eq(self._codes[byte % self._turn]),
                write.en.eq(Mux(self._bytes[byte], self._rows, 0)),
                read.addr.eq(address),
                *(self.operands[byte][row].eq(read.data[row].as_signed()) for row in range(config.query_rows)),
            ]
            if (byte + 1) % config.kv_bytes == 0:
                address = delayed(m, address, 1, name=f"address_{byte}")
        return m

    def _write(self, m: Module) -> None:
        config, rows, turn = self.config, self._rows, range(self._turn)
        query, weights, activations = (port.payload for port in (self.i_query, self.i_weights, self.i_activations))
        part, beat = _split(query.index, config.kv_elements // config.vector)
        head_part, head_beat = _split(activations.index, config.beat_bytes // config.quantize_lanes)
        element, group = _split(weights.position, config.kv_elements)
        m.d.comb += self.i_query.ready.eq(~self.i_weights.valid & ~self.i_activations.valid)
        m.d.sync += [self._bytes.eq(0), rows.eq(0)]
        with m.If(self.i_weights.valid):
            m.d.sync += [
                self._place.eq(operand_address(config, weights=C(1, 1), bank=weights.bank, index=group)),
                *(self._bytes[n].eq(element == n // config.kv_bytes) for n in range(config.beat_bytes)),
            ]
            for row in range(config.query_rows):
                m.d.sync += rows[row].eq(weights.set == row // config.softmax_lanes)
                m.d.sync += [self._codes[n][row].eq(weights.codes[row % config.softmax_lanes]) for n in turn]
        with m.Elif(self.i_activations.valid):
            word = Mux(self.split, head_beat >> 1, head_beat) if config.candidates else head_beat
            m.d.sync += [
                self._place.eq(activation_address(config, word)),
                *(self._bytes[n].eq(head_part == n // config.quantize_lanes) for n in range(config.beat_bytes)),
            ]
            for row in range(config.query_rows):
                m.d.sync += rows[row].eq(activations.row == row)
                if config.candidates:
                    with m.If(self.split):
                        m.d.sync += rows[row].eq(head_beat[:1] == row if row < 2 else 0)
                m.d.sync += [
                    self._codes[n][row].eq(_extended(activations.codes[n % config.quantize_lanes])) for n in turn]
        with m.Elif(self.i_query.valid):
            m.d.sync += [
                self._place.eq(operand_address(config, weights=C(0, 1), bank=query.bank, index=beat)),
                *(self._bytes[n].eq(part == n // config.kv_bytes // config.vector) for n in range(config.beat_bytes)),
            ]
            for row in range(config.query_rows):
                m.d.sync += rows[row].eq(query.row == row)
                m.d.sync += [
                    self._codes[n][row].eq(_extended(query.codes[n // config.kv_bytes % config.vector])) for n in turn]


def _split(index: Value, size: int) -> tuple[Any, Any]:
    """An index as a place among so many, and the rest."""
    return index[: exact_log2(size)], index[exact_log2(size) :]


def _extended(code: Value) -> Any:
    """The bits of a signed code as wide as an operand."""
    return (code + C(0, signed(OPERAND_BITS)))[:OPERAND_BITS]
