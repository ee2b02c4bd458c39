"""This file keeps the attention output of each query row while its blocks come in, and divides it by the total."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.interfaces import output_job, record_read
from hw.bound import bounded
from hw.contract.config import AccelConfig, ceil_div
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import vector_word
from hw.delay import delayed
from hw.dot.interfaces import WEIGHT_BITS, value_sum_bits
from hw.dot.read_ports import READ_LATENCY, value_sums_read
from hw.float.add import FloatAdd
from hw.float.from_int import IntToFloat
from hw.float.mul import FloatMul
from hw.float.rounding import BIAS
from hw.float.scale import scaled
from hw.streams import Queue
from hw.watch import watch_fifo, watch_stream

__all__ = ["HeadOutputs"]

_ITEM = data.StructLayout({"here": 1, "last": 1, "row_end": 1, "job_end": 1})
"""A word of sums on its way: whether the block is the last of its pass, whether the word is the last of its row or job.
"""

_SCALED = IntToFloat.LATENCY + 1
"""Clocks from a sum to its float times the scale of its block: conversion, then a register."""

_WAITING = 16
"""Words of P outputs between the reading of their sums and the stream: more than the clocks it takes them."""


class HeadOutputs(wiring.Component):
    """Output of section 5 of docs/numerics.md: `acc = acc * alpha + F(sum) * 2^(E_v - 16)` for each block of a pass,
    and `out = acc * (1/l)` in its last block.

    P lanes. A memory holds acc of all rows of a pass in the order in which every block of it reads them; alpha = 0, in
    the first block, forgets what an earlier pass left there. Nothing stalls behind the reading of the sums: in a last
    block a word is read when the queue of the outputs has a place for it.

    Cycles: one word of P sums per clock, without a gap between rows and jobs, but `STORED` clocks per job at least. In
    a last block as many words as the stream takes; the first output comes `LATENCY` clocks after its job was taken.

    Members:
        i: jobs; taken when the sums of the job before have been read.
        sums: read port of the value sums.
        record: read port of the records of the softmax.
        o: outputs, V elements a word.
        read_done: pulse, the last sums of a job have been read.
        done: pulse, the last output of a last block is taken in this clock.
    """

    STORED = READ_LATENCY + _SCALED + FloatAdd.LATENCY
    LATENCY = 1 + STORED + FloatMul.LATENCY + 1

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(output_job(config))),
            "sums": Out(value_sums_read(config)),
            "record": Out(record_read(config)),
            "o": Out(stream.Signature(vector_word(config))),
            "read_done": Out(1),
            "done": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        watch_stream(m, platform, self.o, "o")
        config = self.config
        destination = data.StructLayout({
            "column": unsigned(config.column_bits), "base": unsigned(config.word_bits), "end": 1})
        word = data.StructLayout({"values": data.ArrayLayout(FLOAT_BITS, config.ports), "end": 1})
        m.submodules.destinations = destinations = Queue(destination, _WAITING)
        m.submodules.outputs = outputs = Queue(word, _WAITING)
        watch_fifo(m, platform, destinations.i, "the queue of destinations")
        watch_fifo(m, platform, outputs.i, "the queue of outputs")
        item = self._read(m, destinations.i, outputs.o)
        self._compute(m, platform, item, outputs.i)
        self._send(m, destinations.o, outputs.o)
        return m

    def _read(self, m: Module, destinations: Any, leaving: Any) -> Any:
        """Reads the sums of one row after the other. A row that has outputs tells where they go."""
        job, active = Signal(output_job(self.config)), Signal()
        row, word = Signal.like(self.sums.row), Signal.like(self.sums.word)
        age, room = Signal(range(self.STORED), init=self.STORED - 1), Signal(range(_WAITING + 1), init=_WAITING)
        item = Signal(_ITEM)
        last_row, over = row == job.rows - 1, Signal()
        m.d.comb += [
            item.here.eq(active & (~job.last | (room != 0))),
            item.last.eq(job.last),
            item.row_end.eq(word == job.words - 1),
            item.job_end.eq(item.row_end & last_row),
            over.eq(item.here & item.job_end),
            # A word is stored before the next block of the pass reads it.
            self.i.ready.eq((~active | over) & (age == self.STORED - 1)),
            self.sums.bank.eq(job.bank),
            self.sums.row.eq(row),
            self.sums.word.eq(word),
            self.record.record.eq(job.record),
            self.record.row.eq(row),
            destinations.valid.eq(item.here & job.last & (word == 0)),
            destinations.payload.column.eq(job.column[row]),
            destinations.payload.base.eq(job.base[row]),
            destinations.payload.end.eq(last_row),
            self.read_done.eq(delayed(m, over, READ_LATENCY, name="read_done")),
        ]
        m.d.sync += room.eq(room + (leaving.valid & leaving.ready) - (item.here & item.last))
        with m.If(age != self.STORED - 1):
            m.d.sync += age.eq(age + 1)
        with m.If(item.here):
            m.d.sync += word.eq(word + 1)
            with m.If(item.row_end):
                m.d.sync += [word.eq(0), row.eq(row + 1)]
        with m.If(over):
            m.d.sync += active.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [active.eq(1), job.eq(self.i.payload), row.eq(0), age.eq(0)]
        return item

    def _compute(self, m: Module, platform: object, item: Any, outputs: Any) -> None:
        """From the sums to acc and, in a last block, to outputs."""
        config = self.config
        floats = data.ArrayLayout(FLOAT_BITS, config.ports)
        depth = config.query_rows * ceil_div(config.max_head_dim, config.ports)
        m.submodules.states = states = memory.Memory(shape=floats, depth=depth, init=[])
        write, read = states.write_port(), states.read_port()
        # acc is read late enough for its decay to end with the scaling of the sums.
        late = _SCALED - FloatMul.LATENCY
        asked = delayed(m, item, READ_LATENCY - 1 + late, name="asked")
        stored = delayed(m, asked, FloatMul.LATENCY + FloatAdd.LATENCY + 1, name="stored")
        leaving = delayed(m, stored, FloatMul.LATENCY, name="leaving")
        self._count(m, asked, read.addr)
        self._count(m, stored, write.addr)

        exponent = delayed(m, self.record.exponent, IntToFloat.LATENCY, name="exponent")
        alpha = delayed(m, self.record.alpha, late, name="alpha")
        inverse = delayed(m, self.record.inverse, self.STORED - READ_LATENCY, name="inverse")
        shift = Signal(signed(10))
        offset = BIAS + WEIGHT_BITS - 1
        bounded(platform, shift, "shift of a block's output", "255 - 143", 255 - offset, -offset)
        m.d.comb += [
            shift.eq(exponent - offset),
            write.en.eq(stored.here),
            outputs.valid.eq(leaving.here & leaving.last),
            outputs.payload.end.eq(leaving.row_end),
        ]
        for lane in range(config.ports):
            m.submodules[f"convert_{lane}"] = convert = IntToFloat(value_sum_bits(config))
            m.submodules[f"decay_{lane}"] = decay = FloatMul()
            m.submodules[f"add_{lane}"] = add = FloatAdd()
            m.submodules[f"divide_{lane}"] = divide = FloatMul()
            block = delayed(m, scaled(m, convert.o, shift), 1, name=f"block_{lane}")
            m.d.comb += [
                convert.i.eq(self.sums.sums[lane]),
                decay.a.eq(read.data[lane]),
                decay.b.eq(alpha),
                add.a.eq(decay.o),
                add.b.eq(block),
                write.data[lane].eq(add.o),
                divide.a.eq(add.o),
                divide.b.eq(inverse),
                outputs.payload["values"][lane].eq(divide.o),
            ]

    def _count(self, m: Module, item: Any, address: Any) -> None:
        """The place of an item in its job, where it is now."""
        with m.If(item.here):
            m.d.sync += address.eq(Mux(item.job_end, 0, address + 1))

    def _send(self, m: Module, destination: Any, outputs: Any) -> None:
        """P values a word become V values a word."""
        config = self.config
        parts, whole = max(1, config.ports // config.vector), max(1, config.vector // config.ports)
        word, index = self.o.payload, Signal(config.word_bits)
        part, gathered = Signal(range(max(2, parts))), Signal(range(max(2, whole)))
        moves, row_end = Signal(), Signal()
        complete, last_part = gathered == whole - 1, part == parts - 1
        found = [outputs.payload["values"][lane] for lane in range(config.ports)]
        kept = [Signal(FLOAT_BITS, name=f"kept_{n}") for n in range((whole - 1) * config.ports)]
        m.d.comb += [
            self.o.valid.eq(outputs.valid & complete),
            moves.eq(self.o.valid & self.o.ready),
            outputs.ready.eq(~complete | moves & last_part),
            row_end.eq(moves & last_part & outputs.payload.end),
            word.column.eq(destination.payload.column),
            word.index.eq(destination.payload.base + index),
            destination.ready.eq(row_end),
            self.done.eq(row_end & destination.payload.end),
        ]
        for n, value in enumerate([*kept, *found][: config.vector]):
            m.d.comb += word["values"][n].eq(Array([value, *found[n + config.vector :: config.vector]])[part])
        with m.If(moves):
            m.d.sync += [part.eq(Mux(last_part, 0, part + 1)), index.eq(Mux(row_end, 0, index + 1)), gathered.eq(0)]
        with m.If(outputs.valid & ~complete):
            m.d.sync += gathered.eq(gathered + 1)
            for n, value in enumerate(kept):
                with m.If(gathered == n // config.ports):
                    m.d.sync += value.eq(found[n % config.ports])
