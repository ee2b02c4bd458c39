"""Attention of all columns: append to the KV cache, read it back. This file wires, attention_control.py leads."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.attention_control import AttentionControl, attend_command, descriptor
from hw.attention.block_address import BlockAddress
from hw.attention.block_loader import BlockLoader
from hw.attention.block_player import BlockPlayer, key_scales
from hw.attention.head_chain import HeadChain
from hw.attention.head_reader import HeadReader
from hw.attention.kv_quantize import KvQuantize
from hw.attention.query_memory import QueryMemory
from hw.attention.query_quantize import QueryQuantize
from hw.attention.rope_rows import rope_read
from hw.bound import bounded
from hw.contract.config import BLOCK_POSITIONS, AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import beat, gather_request, vector_word, write_beat, write_request
from hw.dot.dot_engine import DotEngine
from hw.memory.kv_cache import KvAppend
from hw.memory.scratchpad import scratchpad_read
from hw.streams import Queue, join

__all__ = ["Attention"]


class Attention(wiring.Component):
    """Section 5 of docs/numerics.md for every column in use.

    Keys and values of all columns are quantised and written first; when the writes are answered, each column reads the
    blocks of its own slot, each block once per KV head, and plays it for every query head of the group. Keys and values
    of the same chunk are thus read as they are stored.

    Cost per column, KV head and block, in clocks, unstalled: the block's beats, then per query head two plays
    (`BlockPlayer`) and about 80 of softmax and accumulation.

    Members:
        columns: columns in use, 1 to T.
        descriptors: slot and position of each column; steady while busy.
        factors: value of one sum of the values' BitLinear, per column; steady while busy. Not used with 8-bit values.
        kv_base, slot_stride: registers.
        i: attend_command.
        done: a pulse after the last output word was taken.
        read: read port of the scratchpad; it belongs to this unit while it is busy.
        rope: read port of the RoPE rows; likewise.
        o_gather, i_gather: block reads.
        o_request, o_write: KV writes.
        write_idle: all KV writes are answered.
        o: vector_word of the outputs, index from 0.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "columns": In(range(config.columns + 1)),
            "descriptors": In(data.ArrayLayout(descriptor(config), config.columns)),
            "factors": In(data.ArrayLayout(FLOAT_BITS, config.columns)),
            "kv_base": In(config.address_bits),
            "slot_stride": In(config.address_bits),
            "i": In(stream.Signature(attend_command(config))),
            "done": Out(1),
            "read": Out(scratchpad_read(config)),
            "rope": Out(rope_read(config)),
            "o_gather": Out(stream.Signature(gather_request(config))),
            "i_gather": In(stream.Signature(data.StructLayout({"data": beat(config), "last": 1}))),
            "o_request": Out(stream.Signature(write_request(config))),
            "o_write": Out(stream.Signature(write_beat(config))),
            "write_idle": In(1),
            "o": Out(stream.Signature(vector_word(config))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.control = control = AttentionControl(config)
        m.submodules.address = address = BlockAddress(config)
        m.submodules.reader = reader = HeadReader(config)
        m.submodules.kv_quantize = kv_quantize = KvQuantize(config)
        m.submodules.append = append = KvAppend(config)
        m.submodules.query_quantize = query_quantize = QueryQuantize(config)
        m.submodules.queries = queries = QueryMemory(config)
        m.submodules.loader = loader = BlockLoader(config)
        m.submodules.player = player = BlockPlayer(config)
        m.submodules.dot = dot = DotEngine(
            config, lanes=config.beat_bytes, element_bits=config.kv_bits, max_elements=config.max_head_dim)
        m.submodules.chain = chain = HeadChain(config)
        largest = 32767 * (2 ** (config.kv_bits - 1) - 1) * config.max_head_dim
        for what, value in (("score dot", chain.i.payload.sum), ("accumulator of a score dot", dot.accumulator)):
            bounded(platform, value, what, "32767 L max_head_dim", largest, -largest)

        # commands
        wiring.connect(m, wiring.flipped(self.i), control.i)
        wiring.connect(m, control.o_read, reader.i)
        wiring.connect(m, control.o_block, address.i)
        wiring.connect(m, address.o, control.i_address)
        wiring.connect(m, control.o_row, append.i_row)
        wiring.connect(m, control.o_load, loader.i_command)
        wiring.connect(m, control.o_play, player.i)
        m.d.comb += [
            control.columns.eq(self.columns),
            control.descriptors.eq(self.descriptors),
            control.written.eq(append.i_row.ready & self.write_idle),
            control.query_stored.eq(queries.i.valid & queries.i.payload.last),
            control.loaded.eq(loader.done),
            control.head_done.eq(chain.o.valid & chain.o.ready & chain.o.payload.last),
            queries.clear.eq(control.clear_queries),
            query_quantize.softmax_scale.eq(control.softmax_scale),
            address.kv_base.eq(self.kv_base),
            address.slot_stride.eq(self.slot_stride),
            address.head_stride.eq(control.head_stride),
            address.block_bytes.eq(control.block_bytes),
            self.done.eq(control.done),
        ]

        # scratchpad -> quantisers -> memory
        wiring.connect(m, reader.read, wiring.flipped(self.read))
        wiring.connect(m, reader.rope, wiring.flipped(self.rope))
        unit = Signal(FLOAT_BITS)  # of the row that the reader is at
        if config.kv_bits == 16:
            read = control.o_read
            with m.If(read.valid & read.ready):
                m.d.sync += unit.eq(Mux(read.payload.rotate, 0, self.factors[read.payload.column]))
        m.d.comb += [
            kv_quantize.i.payload["values"].eq(reader.o.payload["values"]),
            kv_quantize.i.payload["last"].eq(reader.o.payload["last"]),
            kv_quantize.i.payload["unit"].eq(unit),
            query_quantize.i.payload.eq(reader.o.payload),
            kv_quantize.i.valid.eq(reader.o.valid & control.appending),
            query_quantize.i.valid.eq(reader.o.valid & ~control.appending),
            reader.o.ready.eq(control.appending & kv_quantize.i.ready | ~control.appending & query_quantize.i.ready),
        ]
        wiring.connect(m, kv_quantize.o, append.i)
        wiring.connect(m, query_quantize.o, queries.i)
        wiring.connect(m, append.o_request, wiring.flipped(self.o_request))
        wiring.connect(m, append.o, wiring.flipped(self.o_write))

        # memory -> blocks -> scores and values
        wiring.connect(m, loader.o_gather, wiring.flipped(self.o_gather))
        wiring.connect(m, wiring.flipped(self.i_gather), loader.i_gather)
        wiring.connect(m, player.block, loader.read)
        wiring.connect(m, player.query, queries.read)
        wiring.connect(m, player.o_keys, dot.i)
        wiring.connect(m, player.o_values, chain.values)
        m.submodules.scales = scales = Queue(key_scales(config), BLOCK_POSITIONS)
        wiring.connect(m, player.o_scales, scales.i)
        join(m, [dot.o, scales.o], chain.i)
        row = scales.o.payload
        m.d.comb += [
            chain.i.payload.sum.eq(dot.o.payload),
            chain.i.payload.query_scale.eq(row.query),
            chain.i.payload.key_scale.eq(row.key),
            chain.i.payload.value_scale.eq(row.value),
            chain.i.payload.last.eq(row.last),
            chain.i.payload.head.eq(control.head),
            chain.i.payload.first_block.eq(control.first_block),
            chain.i.payload.last_block.eq(control.last_block),
        ]

        # outputs of the heads, one behind the other
        index = Signal(config.word_bits)
        m.d.comb += [
            self.o.valid.eq(chain.o.valid),
            chain.o.ready.eq(self.o.ready),
            self.o.payload.column.eq(control.column),
            self.o.payload.index.eq(index),
            self.o.payload["values"].eq(chain.o.payload["values"]),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += index.eq(index + 1)
        with m.If(control.next_column):
            m.d.sync += index.eq(0)
        return m
