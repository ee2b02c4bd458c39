"""Executes the commands of the packet stream on the units, one after the other (docs/isa.md)."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.attention.command import attend_command
from hw.attention.rope_rows import rope_load
from hw.bound import bounded
from hw.contract.config import MAX_KV_HEADS, AccelConfig, ceil_div
from hw.contract.isa import HEADER, LAYOUTS, Flags, Opcode
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import gather_request
from hw.control.interfaces import feed_signature, vector_control
from hw.control.registers import job_signature
from hw.control.states import offer_state, wait_state
from hw.float.mul import FloatMul
from hw.float.rounding import BIAS
from hw.logits.interfaces import head_scale, lm_head_command
from hw.logits.lm_head_scale import LmHeadScale
from hw.memory.row_address import row_query
from hw.watch import watch, watch_stream

__all__ = ["Executor"]


class Executor(wiring.Component):
    """Executes commands with one state machine that has a branch per opcode.

    It stores no vectors: it starts the units of a command and waits until they report their end.

    Rules: a header is accepted when the command before has ended. Its payload then goes to the unit of its opcode.

    Latency: two clocks per command, FETCH and DECODE, in addition to the clocks of the units.

    Members:
        i_header: headers of the packet reader.
        job: values of the registers.
        feed: the columns of the pass, from the token loop.
        vector: commands and reports of the vector path.
        o_row, i_address: a row of a table, and its address.
        o_gather, gather_last: the read of a row of the embedding or RoPE table, and its last beat.
        rope_gather: the row whose beats come is one of the RoPE table.
        o_rope: load a RoPE row.
        o_attend, attend_done: start and end of attention.
        o_lm_head, bests_done: start of the LM head; the best row of its last column has come.
        head_scale, head_scale_en: the scale of a column's activations, before the start.
        factors: factor of the last MATMUL, per column.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i_header": In(stream.Signature(HEADER)),
            "job": In(job_signature(config)),
            "feed": In(feed_signature(config)),
            "vector": Out(vector_control(config)),
            "o_row": Out(stream.Signature(row_query(config))),
            "i_address": In(stream.Signature(unsigned(config.address_bits))),
            "o_gather": Out(stream.Signature(gather_request(config))),
            "gather_last": In(1), "rope_gather": Out(1),
            "o_rope": Out(stream.Signature(rope_load(config))),
            "o_attend": Out(stream.Signature(attend_command(config))), "attend_done": In(1),
            "factors": Out(data.ArrayLayout(FLOAT_BITS, config.columns)),
            "o_lm_head": Out(stream.Signature(lm_head_command(config))), "bests_done": In(1),
            "head_scale": Out(head_scale(config)), "head_scale_en": Out(1),
        })
        self._header = Signal(HEADER, name="header")
        self._column, self._last_column = Signal(config.column_bits, name="column"), Signal(name="last_column")
        # the columns whose scales and whose table rows come next
        self._scaling, self._filled = (Signal(config.column_bits, name=name) for name in ("scaling", "filled"))
        self._rope_request, self._rows_come = Signal(name="rope_request"), Signal(name="rows_come")
        self._lane_shift, self._beat_shift = exact_log2(config.vector), exact_log2(config.beat_bytes)
        self._work_base = config.residual_elements // config.vector
        self._rstd, self._absmax, self._act_scale = (
            Array(Signal(FLOAT_BITS, name=f"{name}{n}") for n in range(config.columns))
            for name in ("rstd", "absmax", "act_scale"))
        self._multiply, self._wait = FloatMul(), Signal(range(FloatMul.LATENCY + 1), name="wait")
        self._finished = Signal(range(config.columns + 1), name="finished")
        self._last_index = Signal(config.word_bits, name="last_index")

    def _operands(self, opcode: Opcode) -> data.View:
        """The operands of the header, in the layout of `opcode`."""
        return data.View(LAYOUTS[opcode], self._header.as_value())

    def _flag(self, flag: Flags) -> Value:
        return (self._header.flags & flag.value).any()

    def _words(self, elements: Value) -> Value:
        """Words of V that hold so many elements."""
        return (elements + self.config.vector - 1) >> self._lane_shift

    def _quantize_words(self, elements: Value) -> Value:
        """Words of Q that hold so many elements."""
        lanes = self.config.quantize_lanes
        return (elements + lanes - 1) >> exact_log2(lanes)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        streams = {name: getattr(self, name) for name in ("o_row", "o_gather", "o_rope", "o_attend", "o_lm_head")}
        streams |= {name: getattr(self.vector, name) for name in ("embed", "finish", "scale", "quantize", "array")}
        for name, port in streams.items():
            watch_stream(m, platform, port, name)
        header, column, vector = self._header, self._column, self.vector
        m.d.comb += [
            vector.opcode.eq(header.opcode),
            vector.flags.eq(header.flags),
            vector.busy.eq(1),
            vector.norm_count.eq(self._operands(Opcode.LOAD_NORM).elements),
            self._last_column.eq(column == self.feed.columns - 1),
        ]
        watch(m, platform, self._finished <= self.config.columns, "{} columns are done", self._finished)
        self._bounds(platform)
        with m.If(vector.word_taken & (vector.word_index == self._last_index)):
            m.d.sync += self._finished.eq(self._finished + 1)

        for wires in (self._embed, self._quantize, self._matmul, self._attend, self._lm_head):
            wires(m)

        with m.FSM():
            with m.State("FETCH"):
                m.d.comb += [self.i_header.ready.eq(1), vector.busy.eq(0)]
                m.d.sync += [header.eq(self.i_header.payload), column.eq(0), self._finished.eq(0)]
                m.d.sync += [self._scaling.eq(0), self._rope_request.eq(0)]
                with m.If(self.i_header.valid):
                    m.next = "DECODE"
            with m.State("DECODE"):
                self._decode(m)
            wait_state(m, "LOAD NORM", vector.norm_done, "FETCH")
            for states in (self._embed_states, self._quantize_states, self._matmul_states, self._attend_states,
                           self._lm_head_states):
                states(m)
            finished = (self._finished == self.feed.columns) & ~self._rows_come
            wait_state(m, "COLUMNS", finished, "FETCH")  # of EMBED, QUANTIZE and MATMUL
        return m

    def _bounds(self, platform: object) -> None:
        """Declares the bounds of the commands that this unit makes."""
        config, array, quantize = self.config, self.vector.array.payload, self.vector.quantize.payload
        bounded(platform, array.words, "words of a row", "ceil(max_k / Kc)", config.activation_words)
        bounded(platform, array.blocks, "row blocks", "ceil(max_k / R)", ceil_div(config.max_k, config.rows))
        bounded(platform, quantize.words, "words to quantise", "ceil(max_k / Q)", config.quantize_words)
        bounded(platform, quantize.shift, "shift of head activations", "141", BIAS + 14, BIAS + 14 - 255)
        bounded(platform, self.o_attend.payload.kv_heads, "KV heads", "256", MAX_KV_HEADS)
        bounded(platform, self.o_lm_head.payload.m, "rows of the LM head", "max_vocab", config.max_vocab)
        bounded(platform, self.o_row.payload.index, "row of a table, by token or position",
                "max_vocab - 1 or max_positions - 1", max(config.max_vocab, config.max_positions) - 1)
        bounded(platform, self._finished, "columns done", "T", config.columns)

    def _decode(self, m: Module) -> None:
        """Where the vector of a command goes, and its first state."""
        vector, config = self.vector, self.config
        embed, matmul = self._operands(Opcode.EMBED), self._operands(Opcode.MATMUL)
        rows = self._words(embed.hidden)
        blocks = matmul.row_blocks[: config.word_bits + 1]
        m.d.comb += vector.clear_statistics.eq(self._flag(Flags.STATISTICS))
        m.d.sync += vector.base.eq(0)
        with m.Switch(self._header.opcode):
            with m.Case(Opcode.LOAD_NORM.value):
                m.d.comb += vector.norm_start.eq(1)
                m.next = "LOAD NORM"
            with m.Case(Opcode.EMBED.value):
                m.d.sync += [vector.words.eq(rows), self._last_index.eq(rows - 1)]
                m.next = "ROW"
            with m.Case(Opcode.QUANTIZE.value):
                m.next = "FINISH"
            with m.Case(Opcode.MATMUL.value):
                m.d.sync += vector.words.eq(self._words(matmul.out_features))
                m.d.sync += self._last_index.eq(blocks * (config.rows // config.vector) - 1)
                with m.If(~self._flag(Flags.RESIDUAL)):
                    m.d.sync += vector.base.eq(self._work_base + (matmul.destination >> self._lane_shift))
                m.next = "FACTOR"
            with m.Case(Opcode.ATTEND.value):
                m.d.sync += [vector.base.eq(self._work_base), vector.words.eq(~0)]
                m.next = "ATTEND"
            with m.Case(Opcode.LM_HEAD.value):
                m.d.sync += self._scaling.eq(self.feed.head_column)
                m.next = "LM_HEAD GROUP" if config.head_columns < config.columns else "LM_HEAD SCALE"
            with m.Default():
                m.d.comb += self.feed.ended.eq(1)
                m.next = "FETCH"

    # ---- EMBED: of every column the embedding row, then the RoPE row. Rows are requested while earlier ones come.
    def _embed(self, m: Module) -> None:
        operands, column, job, rope = self._operands(Opcode.EMBED), self._column, self.job, self._rope_request
        row, vector, filled = self.o_row.payload, self.vector, self._filled
        m.d.comb += [
            row.base.eq(job.image_base + Mux(rope, job.rope_offset, job.embed_offset)),
            row.stride.eq(Mux(rope, job.rope_stride, job.embed_stride)),
            row.index.eq(Mux(rope, self.feed.descriptors[column].position, self.feed.tokens[column])),
            self.o_gather.payload.address.eq(self.i_address.payload),
            self.o_gather.payload.beats.eq(row.stride >> self._beat_shift),
            vector.embed.payload.column.eq(filled),
            vector.embed.payload.words.eq(self._words(operands.hidden)),
            self.o_rope.payload.column.eq(filled),
            self.o_rope.payload.words.eq(operands.head_dim >> (1 + self._lane_shift)),
        ]
        with m.FSM(name="rows") as rows:
            m.d.comb += self._rows_come.eq(~rows.ongoing("NONE"))
            with m.State("NONE"):
                m.d.sync += [filled.eq(0), self.rope_gather.eq(0)]
                with m.If(self.o_row.valid):
                    m.next = "UNIT"
            with m.State("UNIT"):
                m.d.comb += [self.o_rope.valid.eq(self.rope_gather), vector.embed.valid.eq(~self.rope_gather)]
                with m.If(Mux(self.rope_gather, self.o_rope.ready, vector.embed.ready)):
                    m.next = "BEATS"
            with m.State("BEATS"):
                with m.If(self.gather_last):
                    m.d.sync += [self.rope_gather.eq(~self.rope_gather), filled.eq(filled + self.rope_gather)]
                    m.next = "UNIT"
                    with m.If(self.rope_gather & (filled == self.feed.columns - 1)):
                        m.next = "NONE"

    def _embed_states(self, m: Module) -> None:
        rope, column = self._rope_request, self._column
        offer_state(m, "ROW", self.o_row, "GATHER")
        with m.State("GATHER"):
            m.d.comb += [self.o_gather.valid.eq(self.i_address.valid), self.i_address.ready.eq(self.o_gather.ready)]
            with m.If(self.i_address.valid & self.o_gather.ready):
                m.d.sync += [rope.eq(~rope), column.eq(column + rope)]
                m.next = "ROW"
                with m.If(rope & self._last_column):
                    m.next = "COLUMNS"

    # ---- QUANTIZE: column behind column. For the LM head the scales alone: LM_HEAD makes the codes
    def _quantize(self, m: Module) -> None:
        """Statistics, scales and codes of the columns: three units in a row; each takes the next column when free."""
        operands, vector, scaling = self._operands(Opcode.QUANTIZE), self.vector, self._scaling
        statistics, scaled, command = vector.statistics.payload, vector.scaled.payload, vector.quantize.payload
        only_scales = self._flag(Flags.LM_HEAD)
        m.d.comb += [
            vector.finish.payload.eq(self._column),
            vector.scale.valid.eq(vector.statistics.valid),
            vector.statistics.ready.eq(vector.scale.ready),
            vector.scale.payload.square_sum.eq(statistics.square_sum),
            vector.scale.payload.absmax.eq(statistics.absmax),
            vector.scale.payload.per_n.eq(operands.per_n[32 - FLOAT_BITS :]),
            vector.scale.payload.eps.eq(operands.eps[32 - FLOAT_BITS :]),
            vector.quantize.valid.eq(vector.scaled.valid & ~only_scales),
            vector.scaled.ready.eq(vector.quantize.ready | only_scales),
            command.column.eq(scaling),
            command.base.eq(Mux(self._flag(Flags.WORK), self._work_base, 0)),
            command.words.eq(self._quantize_words(operands.elements)),
            command.top.eq(scaled.top),
            command.inverse.eq(scaled.inverse),
        ]
        with m.If(vector.statistics.valid & vector.scale.ready):
            m.d.sync += self._absmax[statistics.column].eq(statistics.absmax)
        with m.If(vector.scaled.valid & vector.scaled.ready):
            m.d.sync += [
                self._rstd[scaling].eq(scaled.rstd),
                self._act_scale[scaling].eq(scaled.act_scale),
                scaling.eq(scaling + 1),
            ]
        with m.If(vector.packed | (vector.scaled.valid & only_scales)):
            m.d.sync += self._finished.eq(self._finished + 1)

    def _quantize_states(self, m: Module) -> None:
        with m.State("FINISH"):
            m.d.comb += self.vector.finish.valid.eq(1)
            with m.If(self.vector.finish.ready):
                m.d.sync += self._column.eq(self._column + 1)
                with m.If(self._last_column):
                    m.next = "COLUMNS"

    # ---- MATMUL
    def _matmul(self, m: Module) -> None:
        operands, column, vector = self._operands(Opcode.MATMUL), self._column, self.vector
        m.submodules.multiply = multiply = self._multiply
        m.d.comb += [
            multiply.a.eq(self._act_scale[column]),
            multiply.b.eq(operands.weight_scale[32 - FLOAT_BITS :]),
            vector.factor.column.eq(column),
            vector.factor.factor.eq(multiply.o),
            vector.array.payload.words.eq(operands.block_beats),
            vector.array.payload.blocks.eq(operands.row_blocks),
            vector.array.payload.columns.eq(self.feed.columns),
        ]

    def _matmul_states(self, m: Module) -> None:
        column, vector = self._column, self.vector
        with m.State("FACTOR"):
            m.d.sync += self._wait.eq(self._wait + 1)
            with m.If(self._wait == FloatMul.LATENCY):
                m.d.comb += vector.factor_en.eq(1)
                m.d.sync += self.factors[column].eq(self._multiply.o)
                m.d.sync += [self._wait.eq(0), column.eq(column + 1)]
                with m.If(self._last_column):
                    m.next = "ARRAY"
        offer_state(m, "ARRAY", vector.array, "COLUMNS")

    # ---- ATTEND
    def _attend(self, m: Module) -> None:
        operands, command, work_base = self._operands(Opcode.ATTEND), self.o_attend.payload, self._work_base
        m.d.comb += [
            command.group.eq(operands.group),
            command.kv_heads.eq(operands.kv_heads),
            command.half_words.eq(operands.head_dim >> (1 + self._lane_shift)),
            command.q_base.eq(work_base),
            command.k_base.eq(work_base + (operands.k_offset >> self._lane_shift)),
            command.v_base.eq(work_base + (operands.v_offset >> self._lane_shift)),
            command.softmax_scale.eq(operands.softmax_scale[32 - FLOAT_BITS :]),
            command.head_stride.eq(operands.kv_head_stride),
            command.layer.eq(operands.layer_offset),
        ]

    def _attend_states(self, m: Module) -> None:
        offer_state(m, "ATTEND", self.o_attend, "ATTENDED")
        wait_state(m, "ATTENDED", self.attend_done, "FETCH")

    # ---- LM_HEAD: 16-bit codes of the columns of a group, one after the other, then the rows
    def _lm_head(self, m: Module) -> None:
        operands, column, vector = self._operands(Opcode.LM_HEAD), self._scaling, self.vector
        command, beat = vector.quantize.payload, exact_log2(self.config.beat_bytes)
        m.submodules.lm_head_scale = lm_head_scale = LmHeadScale()
        m.d.comb += [
            lm_head_scale.rstd.eq(self._rstd[column]),
            lm_head_scale.absmax.eq(self._absmax[column]),
            command.shift.eq(lm_head_scale.shift),
            vector.head_column.eq(self._column),
            self.head_scale.column.eq(self._column),
            self.head_scale.hs.eq(lm_head_scale.hs),
            self.o_lm_head.payload.columns.eq(self.feed.head_columns),
            self.o_lm_head.payload.row_beats.eq((operands.hidden + (self.config.beat_bytes - 1)) >> beat),
            self.o_lm_head.payload.m.eq(operands.vocabulary),
        ]
        with m.If(self._header.opcode == Opcode.LM_HEAD.value):
            m.d.comb += [
                command.lm_head.eq(1),
                command.column.eq(column),
                command.base.eq(0),
                command.words.eq(self._quantize_words(operands.hidden)),
            ]

    def _lm_head_states(self, m: Module) -> None:
        vector = self.vector
        if self.config.head_columns < self.config.columns:
            with m.State("LM_HEAD GROUP"):
                m.d.sync += self._scaling.eq(self.feed.head_column)
                with m.If(self.feed.head_open):
                    m.next = "LM_HEAD SCALE"
        with m.State("LM_HEAD SCALE"):
            m.next = "LM_HEAD QUANTIZE"
        offer_state(m, "LM_HEAD QUANTIZE", vector.quantize, "LM_HEAD CODES")
        with m.State("LM_HEAD CODES"):
            with m.If(vector.codes_done):
                m.d.comb += self.head_scale_en.eq(1)
                m.d.sync += [self._column.eq(self._column + 1), self._scaling.eq(self._scaling + 1)]
                m.next = "LM_HEAD SCALE"
                with m.If(self._column == self.feed.head_columns - 1):
                    m.next = "LM_HEAD ROWS"
        offer_state(m, "LM_HEAD ROWS", self.o_lm_head, "LOGITS")
        with m.State("LOGITS"):
            with m.If(self.bests_done):
                m.d.comb += self.feed.lm_head_done.eq(1)
                m.next = "FETCH"
