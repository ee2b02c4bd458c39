"""Executes the commands of the packet stream on the units, one after the other (docs/isa.md)."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.array.rescale import column_factor
from hw.array.systolic import array_command
from hw.attention.attention_control import attend_command, descriptor
from hw.attention.rope_rows import rope_load
from hw.contract.config import AccelConfig
from hw.contract.isa import HEADER, Flags, Opcode
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import gather_request
from hw.embedding.embedding import embedding_command
from hw.float.mul import FloatMul
from hw.logits.head import head_command
from hw.logits.head_scale import HeadScale
from hw.memory.row_address import row_query
from hw.norm.quantize import quantize_command
from hw.norm.scale import scale_request, scale_result
from hw.norm.statistics import statistics_result
from hw.watch import watch, watch_stream

__all__ = ["Executor"]

TOKEN_BITS = 24


class Executor(wiring.Component):
    """One state machine, a branch per opcode. It owns no data: it starts units and waits for what they report.

    Rules: a header is taken when the command before has ended, its payload then flows to the unit of `opcode`. Columns
    0 to columns - 1 are worked on. HEAD works on `head_column`.

    Members (those not obvious from docs/architecture.md):
        opcode, flags: of the command under way; they steer every multiplexer of the accelerator.
        base, words, last_index: where the vector under way is written, its length, the index of its last word.
        word_index, word_taken: the word that the vector writer takes.
        rope_gather: the gather under way is a RoPE row, otherwise an embedding row.
        gather_last: last beat of the gather under way was taken.
        ended: END. head_done: HEAD has given its best row.
        factors: of the last MATMUL, per column.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i_header": In(stream.Signature(HEADER)),
            "columns": In(range(config.columns + 1)),
            "tokens": In(data.ArrayLayout(unsigned(TOKEN_BITS), config.columns)),
            "descriptors": In(data.ArrayLayout(descriptor(config), config.columns)),
            "head_column": In(config.column_bits),
            "image_base": In(config.address_bits),
            "embed_offset": In(32), "embed_stride": In(32), "rope_offset": In(32), "rope_stride": In(32),
            "opcode": Out(8), "flags": Out(8),
            "busy": Out(1), "ended": Out(1), "head_done": Out(1),
            # the vector on its way into the scratchpad
            "base": Out(config.word_bits), "words": Out(config.word_bits + 1),
            "word_index": In(config.word_bits), "word_taken": In(1),
            "clear_statistics": Out(1),
            # units
            "norm_start": Out(1), "norm_count": Out(range(config.max_k + 1)), "norm_done": In(1),
            "o_row": Out(stream.Signature(row_query(config))),
            "i_address": In(stream.Signature(unsigned(config.address_bits))),
            "o_gather": Out(stream.Signature(gather_request(config))),
            "gather_last": In(1), "rope_gather": Out(1),
            "o_embed": Out(stream.Signature(embedding_command(config))),
            "o_rope": Out(stream.Signature(rope_load(config))),
            "o_finish": Out(stream.Signature(config.column_bits)),
            "i_statistics": In(stream.Signature(statistics_result(config))),
            "o_scale": Out(stream.Signature(scale_request(config))),
            "i_scale": In(stream.Signature(scale_result(config))),
            "o_quantize": Out(stream.Signature(quantize_command(config))),
            "packed": In(1), "codes_done": In(1),
            "o_factor": Out(column_factor(config)), "o_factor_en": Out(1),
            "factors": Out(data.ArrayLayout(FLOAT_BITS, config.columns)),
            "o_array": Out(stream.Signature(array_command(config))),
            "o_attend": Out(stream.Signature(attend_command(config))), "attend_done": In(1),
            "o_head": Out(stream.Signature(head_command(config))), "best": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name in (
            "o_row", "o_gather", "o_embed", "o_rope", "o_finish", "o_scale", "o_quantize", "o_array", "o_attend",
            "o_head",
        ):
            watch_stream(m, platform, getattr(self, name), name)
        config = self.config
        lane_shift = config.vector.bit_length() - 1
        beat_shift = config.beat_bytes.bit_length() - 1
        work_base = config.residual_elements // config.vector
        header = Signal(HEADER)
        column, last_column, finished = Signal(config.column_bits), Signal(), Signal(range(config.columns + 1))
        last_index = Signal(config.word_bits)
        rstd = Array(Signal(FLOAT_BITS, name=f"rstd{n}") for n in range(config.columns))
        absmax = Array(Signal(FLOAT_BITS, name=f"absmax{n}") for n in range(config.columns))
        act_scale = Array(Signal(FLOAT_BITS, name=f"act_scale{n}") for n in range(config.columns))
        top, inverse, head_mode = Signal(FLOAT_BITS), Signal(FLOAT_BITS), Signal()
        m.submodules.multiply = multiply = FloatMul()
        m.submodules.head_scale = head_scale = HeadScale()
        wait = Signal(range(FloatMul.LATENCY + 1))
        scale = header.scale[32 - FLOAT_BITS :]
        words = (header.k + config.vector - 1) >> lane_shift

        def in_flags(flag: Flags) -> Value:
            return (header.flags & flag.value).any()

        quantized = Mux(head_mode, self.head_column, column)
        m.d.comb += [
            self.opcode.eq(header.opcode),
            self.flags.eq(header.flags),
            self.busy.eq(1),
            last_column.eq(column == self.columns - 1),
            self.norm_count.eq(header.k),
            # rows of tables
            self.o_row.payload.base.eq(
                self.image_base + Mux(self.rope_gather, self.rope_offset, self.embed_offset)),
            self.o_row.payload.stride.eq(Mux(self.rope_gather, self.rope_stride, self.embed_stride)),
            self.o_row.payload.index.eq(
                Mux(self.rope_gather, self.descriptors[column].position, self.tokens[column])),
            self.o_gather.payload.address.eq(self.i_address.payload),
            self.o_gather.payload.beats.eq(self.o_row.payload.stride >> beat_shift),
            self.o_embed.payload.column.eq(column),
            self.o_embed.payload.words.eq(words),
            self.o_rope.payload.column.eq(column),
            self.o_rope.payload.words.eq(header.m >> (1 + lane_shift)),
            # norms
            self.o_finish.payload.eq(column),
            self.o_scale.payload.square_sum.eq(self.i_statistics.payload.square_sum),
            self.o_scale.payload.absmax.eq(self.i_statistics.payload.absmax),
            self.o_scale.payload.per_n.eq(scale),
            self.o_scale.payload.eps.eq(header.eps[32 - FLOAT_BITS :]),
            self.o_quantize.payload.column.eq(quantized),
            self.o_quantize.payload.base.eq(Mux(in_flags(Flags.WORK), work_base, 0)),
            self.o_quantize.payload.words.eq(words),
            self.o_quantize.payload.top.eq(top),
            self.o_quantize.payload.inverse.eq(inverse),
            self.o_quantize.payload.shift.eq(head_scale.shift),
            self.o_quantize.payload.head.eq(head_mode),
            head_scale.rstd.eq(rstd[self.head_column]),
            head_scale.absmax.eq(absmax[self.head_column]),
            # matmul
            multiply.a.eq(act_scale[column]),
            multiply.b.eq(scale),
            self.o_factor.column.eq(column),
            self.o_factor.factor.eq(multiply.o),
            self.o_array.payload.words.eq(header.offset2),
            self.o_array.payload.blocks.eq(header.address),
            self.o_array.payload.columns.eq(self.columns),
            # attention
            self.o_attend.payload.group.eq(header.m[:16]),
            self.o_attend.payload.kv_heads.eq(header.m[16:]),
            self.o_attend.payload.half_words.eq(header.k >> (1 + lane_shift)),
            self.o_attend.payload.row_beats.eq((header.k * config.kv_bytes) >> beat_shift),
            self.o_attend.payload.q_base.eq(work_base),
            self.o_attend.payload.k_base.eq(work_base + (header.offset >> lane_shift)),
            self.o_attend.payload.v_base.eq(work_base + (header.offset2 >> lane_shift)),
            self.o_attend.payload.softmax_scale.eq(scale),
            self.o_attend.payload.head_stride.eq(header.eps),
            self.o_attend.payload.layer.eq(header.address),
            # head
            self.o_head.payload.k.eq(header.k),
            self.o_head.payload.m.eq(header.m),
            self.o_head.payload.hs.eq(head_scale.hs),
        ]
        watch(m, platform, finished <= config.columns, "{} columns are done", finished)
        with m.If(self.word_taken & (self.word_index == last_index)):
            m.d.sync += finished.eq(finished + 1)

        with m.FSM():
            with m.State("FETCH"):
                m.d.comb += [self.i_header.ready.eq(1), self.busy.eq(0)]
                m.d.sync += [header.eq(self.i_header.payload), column.eq(0), finished.eq(0)]
                m.d.sync += [head_mode.eq(0), self.rope_gather.eq(0), wait.eq(0)]
                with m.If(self.i_header.valid):
                    m.next = "DECODE"
            with m.State("DECODE"):
                per_block = config.rows // config.vector
                blocks = header.address[: config.word_bits + 1]
                m.d.comb += self.clear_statistics.eq(in_flags(Flags.STATISTICS))
                m.d.sync += [self.words.eq(words), last_index.eq(words - 1), self.base.eq(0)]
                with m.Switch(self.opcode):
                    with m.Case(Opcode.LOAD_NORM.value):
                        m.d.comb += self.norm_start.eq(1)
                        m.next = "LOAD NORM"
                    with m.Case(Opcode.EMBED.value):
                        m.next = "ROW"
                    with m.Case(Opcode.QUANTIZE.value):
                        m.next = "FINISH"
                    with m.Case(Opcode.MATMUL.value):
                        m.d.sync += self.words.eq((header.m + config.vector - 1) >> lane_shift)
                        m.d.sync += last_index.eq(blocks * per_block - 1)
                        with m.If(~in_flags(Flags.RESIDUAL)):
                            m.d.sync += self.base.eq(work_base + (header.offset >> lane_shift))
                        m.next = "FACTOR"
                    with m.Case(Opcode.ATTEND.value):
                        m.d.sync += [self.base.eq(work_base), self.words.eq(~0)]
                        m.next = "ATTEND"
                    with m.Case(Opcode.HEAD.value):
                        m.d.sync += head_mode.eq(1)
                        m.next = "HEAD SCALE"
                    with m.Default():
                        m.d.comb += self.ended.eq(1)
                        m.next = "FETCH"

            with m.State("LOAD NORM"):
                with m.If(self.norm_done):
                    m.next = "FETCH"

            with m.State("ROW"):
                m.d.comb += self.o_row.valid.eq(1)
                with m.If(self.o_row.ready):
                    m.next = "UNIT"
            with m.State("UNIT"):
                ready = Mux(self.rope_gather, self.o_rope.ready, self.o_embed.ready)
                m.d.comb += [self.o_rope.valid.eq(self.rope_gather), self.o_embed.valid.eq(~self.rope_gather)]
                with m.If(ready):
                    m.next = "GATHER"
            with m.State("GATHER"):
                m.d.comb += [self.o_gather.valid.eq(self.i_address.valid), self.i_address.ready.eq(self.o_gather.ready)]
                with m.If(self.i_address.valid & self.o_gather.ready):
                    m.next = "GATHERED"
            with m.State("GATHERED"):
                with m.If(self.gather_last):
                    m.d.sync += self.rope_gather.eq(~self.rope_gather)
                    m.next = "ROW"
                    with m.If(self.rope_gather):
                        m.d.sync += column.eq(column + 1)
                        with m.If(last_column):
                            m.next = "WRITTEN"
            with m.State("WRITTEN"):
                with m.If(finished == self.columns):
                    m.next = "FETCH"

            with m.State("FINISH"):
                m.d.comb += self.o_finish.valid.eq(1)
                with m.If(self.o_finish.ready):
                    m.next = "STATISTICS"
            with m.State("STATISTICS"):
                m.d.comb += [
                    self.o_scale.valid.eq(self.i_statistics.valid), self.i_statistics.ready.eq(self.o_scale.ready),
                ]
                with m.If(self.i_statistics.valid & self.o_scale.ready):
                    m.d.sync += absmax[column].eq(self.i_statistics.payload.absmax)
                    m.next = "SCALE"
            with m.State("SCALE"):
                m.d.comb += self.i_scale.ready.eq(1)
                with m.If(self.i_scale.valid):
                    m.d.sync += [top.eq(self.i_scale.payload.top), inverse.eq(self.i_scale.payload.inverse)]
                    m.d.sync += rstd[column].eq(self.i_scale.payload.rstd)
                    m.d.sync += act_scale[column].eq(self.i_scale.payload.act_scale)
                    m.next = "QUANTIZE"
                    with m.If(in_flags(Flags.HEAD16)):
                        m.next = "COLUMN"
            with m.State("QUANTIZE"):
                m.d.comb += self.o_quantize.valid.eq(1)
                with m.If(self.o_quantize.ready):
                    m.next = "PACKED"
            with m.State("PACKED"):
                with m.If(self.packed):
                    m.next = "COLUMN"
            with m.State("COLUMN"):
                m.d.sync += column.eq(column + 1)
                m.next = "FINISH"
                with m.If(last_column):
                    m.next = "FETCH"

            with m.State("FACTOR"):
                m.d.sync += wait.eq(wait + 1)
                with m.If(wait == FloatMul.LATENCY):
                    m.d.comb += self.o_factor_en.eq(1)
                    m.d.sync += self.factors[column].eq(multiply.o)
                    m.d.sync += [wait.eq(0), column.eq(column + 1)]
                    with m.If(last_column):
                        m.next = "ARRAY"
            with m.State("ARRAY"):
                m.d.comb += self.o_array.valid.eq(1)
                with m.If(self.o_array.ready):
                    m.next = "WRITTEN"

            with m.State("ATTEND"):
                m.d.comb += self.o_attend.valid.eq(1)
                with m.If(self.o_attend.ready):
                    m.next = "ATTENDED"
            with m.State("ATTENDED"):
                with m.If(self.attend_done):
                    m.next = "FETCH"

            with m.State("HEAD SCALE"):
                m.next = "HEAD QUANTIZE"
            with m.State("HEAD QUANTIZE"):
                m.d.comb += self.o_quantize.valid.eq(1)
                with m.If(self.o_quantize.ready):
                    m.next = "HEAD CODES"
            with m.State("HEAD CODES"):
                with m.If(self.codes_done):
                    m.next = "HEAD"
            with m.State("HEAD"):
                m.d.comb += self.o_head.valid.eq(1)
                with m.If(self.o_head.ready):
                    m.next = "LOGITS"
            with m.State("LOGITS"):
                with m.If(self.best):
                    m.d.comb += self.head_done.eq(1)
                    m.next = "FETCH"
        return m
