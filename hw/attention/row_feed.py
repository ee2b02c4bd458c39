"""From rows of the scratchpad to codes of keys, values and queries. This file wires the units."""

from __future__ import annotations

from amaranth.hdl import Module, Mux
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.head_reader import HeadReader
from hw.attention.interfaces import RowKind, row_command
from hw.attention.kv_quantize import KvQuantize
from hw.attention.query_quantize import QueryQuantize
from hw.attention.rope_rows import rope_read
from hw.attention.row_buffer import ROWS, RowBuffer
from hw.contract.config import AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import kv_codes
from hw.dot.interfaces import query_word
from hw.memory.scratchpad import scratchpad_read
from hw.streams import Queue, fork, join, route

__all__ = ["RowFeed"]


class RowFeed(wiring.Component):
    """Reads rows of heads, rotates keys and queries, and quantises each row by its largest magnitude.

        i -> HeadReader -> RowBuffer -+-> QueryQuantize -> o_query
                                      +-> KvQuantize ----> o_kv

    A row is read while the one before it is stored and quantised. The order of the rows is that of the commands. A row
    that is not taken stops those behind it, also those of the other stream; a command is taken only while the buffer
    has a free row, so that words under way always have room.

    Keys and queries are padded with zeros to `padded_words` words; values have 2 * `half_words` words. A value is coded
    in units of the factor of its column with 16-bit codes; everything else of keys and values by the largest magnitude.

    Throughput: a word per clock, rows without a gap. Key and value rows of fewer than KvQuantize.ROW_CLOCKS words take
    as many clocks as that; shorter query rows than 8 words wait for a free row of the buffer, four rows of 4 words take
    18 clocks. Latency, from the command to the last code of a row: 2 * words + `KV_LATENCY` or `QUERY_LATENCY` clocks.

    Members:
        i: row_command.
        softmax_scale: C of docs/numerics.md; steady while there are query rows.
        factors: value of one sum of the values' BitLinear, per column; steady while there are value rows. Not used with
            8-bit codes.
        read: read port of the scratchpad; it belongs to this unit.
        rope: read port of the RoPE rows; likewise.
        o_query: query_word.
        o_kv: the codes of keys and values.
    """

    KV_LATENCY = HeadReader.LATENCY + RowBuffer.LATENCY + KvQuantize.ROW_CLOCKS + KvQuantize.LATENCY - 1
    QUERY_LATENCY = HeadReader.LATENCY + RowBuffer.LATENCY + QueryQuantize.LATENCY - 1

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(row_command(config))),
            "softmax_scale": In(FLOAT_BITS),
            "factors": In(data.ArrayLayout(FLOAT_BITS, config.columns)),
            "read": Out(scratchpad_read(config)),
            "rope": Out(rope_read(config)),
            "o_query": Out(stream.Signature(query_word(config))),
            "o_kv": Out(stream.Signature(kv_codes(config))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, command = self.config, self.i.payload
        m.submodules.reader = reader = HeadReader(config)
        m.submodules.buffer = buffer = RowBuffer(config)
        m.submodules.query = query = QueryQuantize(config)
        m.submodules.kv = kv = KvQuantize(config)
        wiring.connect(m, reader.read, wiring.flipped(self.read))
        wiring.connect(m, reader.rope, wiring.flipped(self.rope))
        wiring.connect(m, query.o, wiring.flipped(self.o_query))
        wiring.connect(m, kv.o, wiring.flipped(self.o_kv))
        m.d.comb += [
            buffer.i.eq(reader.o),
            buffer.i_en.eq(reader.o_en),
            query.softmax_scale.eq(self.softmax_scale),
            kv.i_row.payload.largest.eq(buffer.o_largest.payload),
        ]
        takers = [(1, reader.i), (1, buffer.i_row)]
        if config.kv_bits == 16:
            m.submodules.units = units = Queue(FLOAT_BITS, ROWS)
            fork(m, self.i, [*takers, (command.kind != RowKind.QUERY, units.i)])
            join(m, [buffer.o_largest, units.o], kv.i_row)
            m.d.comb += [
                units.i.payload.eq(Mux(command.kind == RowKind.VALUE, self.factors[command.column], 0)),
                kv.i_row.payload.unit.eq(units.o.payload),
            ]
        else:
            fork(m, self.i, takers)
            join(m, [buffer.o_largest], kv.i_row)
        is_query = buffer.o.payload.kind == RowKind.QUERY
        route(m, platform, buffer.o, [(is_query, query.i), (~is_query, kv.i)])
        return m
