"""This file computes logits: rows of the output embedding times the last hidden vector."""

from __future__ import annotations

from amaranth.hdl import EnableInserter, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.bound import bounded
from hw.contract.config import AccelConfig, ceil_div
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import stream_beat
from hw.delay import delayed
from hw.dot.dot_engine import OPERAND_BITS, DotEngine, dot_latency
from hw.dot.scaled_sum import ScaledSum
from hw.logits.argmax import logit_word
from hw.logits.row_reader import LmHeadRowReader
from hw.streams import Queue
from hw.watch import watch, watch_fifo, watch_stream

__all__ = ["LogitEngine", "lm_head_command", "lm_head_write"]


def lm_head_command(config: AccelConfig) -> data.StructLayout:
    """Inputs, rows, and the value `hs` of one activation code as a machine float; k and m are at least 1."""
    return data.StructLayout({"k": range(config.max_hidden + 1), "m": range(config.max_vocab + 1), "hs": FLOAT_BITS})


def lm_head_write(config: AccelConfig) -> data.StructLayout:
    """V activation codes; `index` counts words of V elements."""
    return data.StructLayout({
        "index": range(max(2, ceil_div(config.max_hidden, config.vector))),
        "codes": data.ArrayLayout(signed(OPERAND_BITS), config.vector),
    })


class LogitEngine(wiring.Component):
    """Logits of one column: section 7 of docs/numerics.md over the payload of a LM_HEAD packet (docs/isa.md).

    Activations are written first, then a command, then its beats. Codes at k and above need not be written: lanes
    behind k are zeroed. The path of a row: its beats meet their activations (memory), `DotEngine` sums, and
    `ScaledSum` multiplies with the two scales; row number and scale wait in a FIFO beside the engine.

    Cycles: one beat per clock, of rows of any length; the logit is valid `latency` clocks after the last beat of its
    row, if nothing stalls. A command is taken when all rows of the previous one have left the engine.

    Members:
        i_activations: codes of the column, taken in every clock; not while a command is under way.
        i_command: extent of the packet and scale of the activations.
        i_beats: its payload.
        o: m logits in the order of their rows.
    """

    def __init__(self, config: AccelConfig):
        self.config = config
        super().__init__({
            "i_activations": In(stream.Signature(lm_head_write(config))),
            "i_command": In(stream.Signature(lm_head_command(config))),
            "i_beats": In(stream.Signature(stream_beat(config))),
            "o": Out(stream.Signature(logit_word(config))),
        })

    @property
    def latency(self) -> int:
        """Clocks from the last beat of a row to its logit: activation memory, engine, scaling."""
        return 1 + dot_latency(self.config.stream_bytes) + ScaledSum.LATENCY

    def elaborate(self, platform):
        m = Module()
        watch_stream(m, platform, self.o, "o")
        config = self.config
        m.submodules.reader = reader = LmHeadRowReader(config)
        m.submodules.engine = engine = DotEngine(
            config, lanes=config.stream_bytes, element_bits=8, max_elements=config.max_hidden)
        largest = 32767 * 127 * config.max_hidden
        bounded(platform, engine.accumulator, "LM head dot", "32767 * 127 max_hidden", largest, -largest)

        codes = data.ArrayLayout(signed(OPERAND_BITS), config.stream_bytes)
        m.submodules.activations = activations = memory.Memory(
            shape=codes, depth=ceil_div(config.max_hidden, config.stream_bytes), init=[])
        write, read = activations.write_port(granularity=config.vector), activations.read_port()
        parts = config.stream_bytes // config.vector
        index = self.i_activations.payload.index
        m.d.comb += [
            self.i_activations.ready.eq(1),
            write.addr.eq(index >> exact_log2(parts)),
            write.en.eq(Mux(self.i_activations.valid, 1 << index[:exact_log2(parts)], 0)),
            *(write.data[n].eq(self.i_activations.payload.codes[n % config.vector])
              for n in range(config.stream_bytes)),
        ]

        # What a logit needs besides its sum. Every row in the engine has a place, and one more may enter.
        ticket = data.StructLayout({"row": self.o.payload.row.shape(), "last": 1, "scale": FLOAT_BITS})
        m.submodules.tickets = tickets = Queue(ticket, engine.latency + 2)
        entering, leaving = tickets.i.payload, tickets.o.payload

        hs = Signal(FLOAT_BITS)
        free = Signal()
        m.d.comb += [
            free.eq(reader.o_idle & (tickets.level == 0)),
            reader.i_command.payload.k.eq(self.i_command.payload.k),
            reader.i_command.payload.m.eq(self.i_command.payload.m),
            reader.i_command.valid.eq(self.i_command.valid & free),
            self.i_command.ready.eq(free),
            reader.i_beats.payload.eq(self.i_beats.payload),
            reader.i_beats.valid.eq(self.i_beats.valid),
            self.i_beats.ready.eq(reader.i_beats.ready),
        ]
        with m.If(self.i_command.valid & free):
            m.d.sync += hs.eq(self.i_command.payload.hs)

        # One clock for the activation memory; the beat waits beside it.
        word = reader.o.payload
        lanes = Signal(config.stream_bytes)
        taken = Signal()
        m.d.comb += [
            reader.o.ready.eq((engine.i.ready | ~engine.i.valid) & tickets.i.ready),
            taken.eq(reader.o.valid & reader.o.ready),
            read.addr.eq(word.address),
            read.en.eq(taken),
            entering.row.eq(word.row),
            entering.last.eq(word.last_row),
            entering.scale.eq(word.scale),
            tickets.i.valid.eq(taken & word.last),
            *(engine.i.payload.operands[n].eq(Mux(lanes[n], read.data[n], 0)) for n in range(config.stream_bytes)),
        ]
        with m.If(engine.i.ready):
            m.d.sync += engine.i.valid.eq(0)
        with m.If(taken):
            m.d.sync += [
                engine.i.valid.eq(1),
                engine.i.payload.beat.eq(word.beat),
                engine.i.payload.first.eq(word.first),
                engine.i.payload.last.eq(word.last),
                lanes.eq(word.lanes),
            ]

        watch_fifo(m, platform, tickets.i, "the FIFO of rows under way")
        watch(m, platform, ~engine.o.valid | tickets.o.valid, "a sum belongs to no row")

        # The scaling stops as a whole while a logit is not taken.
        advance = Signal()
        scaling = ScaledSum(engine.sum_bits)
        m.submodules.scaling = EnableInserter(advance)(scaling)
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            engine.o.ready.eq(advance),
            tickets.o.ready.eq(engine.o.valid & advance),
            scaling.i.eq(engine.o.payload),
            scaling.a.eq(hs),
            scaling.b.eq(leaving.scale),
            self.o.payload.logit.eq(scaling.o),
        ]
        flags = data.StructLayout({"valid": 1, "row": self.o.payload.row.shape(), "last": 1})
        stage = Signal(flags, name="flags")
        m.d.comb += [stage.valid.eq(engine.o.valid), stage.row.eq(leaving.row), stage.last.eq(leaving.last)]
        with m.If(advance):
            stage = delayed(m, stage, ScaledSum.LATENCY, name="flags")
        m.d.comb += [
            self.o.valid.eq(stage.valid),
            self.o.payload.row.eq(stage.row),
            self.o.payload.last.eq(stage.last),
        ]
        return m
