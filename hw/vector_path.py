"""The path of a vector from the scratchpad through norm, quantiser and array back to the scratchpad: wiring only."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.array.rescale import Rescale
from hw.array.systolic import SystolicArray
from hw.contract.config import AccelConfig
from hw.contract.isa import Flags, Opcode
from hw.contract.payloads import beat, stream_beat, vector_word
from hw.control.interfaces import vector_control
from hw.dot.interfaces import activation_word
from hw.embedding.embedding import EmbeddingRow
from hw.feedforward.gated_relu2 import GatedRelu2
from hw.memory.scratchpad import Scratchpad, scratchpad_address, scratchpad_read
from hw.memory.vector_writer import VectorWriter
from hw.norm.norm_memory import NormMemory
from hw.norm.pack_activations import PackActivations
from hw.norm.quantize import Quantize
from hw.norm.residual import Residual
from hw.norm.scale import NormScale
from hw.norm.statistics import NormStatistics
from hw.streams import RegisterSlice, route, select

__all__ = ["VectorPath"]


class VectorPath(wiring.Component):
    """Processes the vectors of a pass: T columns in parallel, Q elements per clock on the way in, V on the way out.

        i_payload -> NormMemory                     i_payload
                        | weights                       | trits
        Scratchpad -> Quantize -> PackActivations -> SystolicArray -> Rescale
            ^            |                                               v
            |            v                                         RegisterSlice -+------------+-> RegisterSlice
            |       o_activations                                                 +> Residual -+       |
            |                                                                     +> GatedRelu2+       |
            |                                                     i_row -> EmbeddingRow -------+       |
            |                                                                    i_words ------+       |
            +------ VectorWriter <---------------------------------------------------------------------+
                        | NormStatistics -> NormScale

    Rules: the command under way owns the read port of the scratchpad and selects the source of the words that are
    written.

    Members:
        control: from the sequencer.
        i_payload: payload of LOAD_NORM and MATMUL.
        i_row: beats of an embedding row.
        i_words: vectors of attention.
        read: read port of the scratchpad, for attention while it runs.
        o_activations: 16-bit codes for the LM head.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "control": In(vector_control(config)),
            "i_payload": In(stream.Signature(stream_beat(config))),
            "i_row": In(stream.Signature(data.StructLayout({"data": beat(config), "last": 1}))),
            "i_words": In(stream.Signature(vector_word(config))),
            "read": In(scratchpad_read(config)),
            "o_activations": Out(stream.Signature(activation_word(config), always_ready=True)),
        })

    def _doing(self, *opcodes: Opcode) -> Value:
        return Cat(*(self.control.opcode == code.value for code in opcodes)).any()

    def _flag(self, flag: Flags) -> Value:
        return (self.control.flags & flag.value).any()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.scratchpad = scratchpad = Scratchpad(config)
        m.submodules.array = array = SystolicArray(config)
        m.submodules.rescale = rescale = Rescale(config)
        m.submodules.residual = residual = Residual(config)
        m.submodules.gated = gated = GatedRelu2(config)
        m.submodules.embedding = embedding = EmbeddingRow(config)
        m.submodules.rescaled = rescaled = RegisterSlice(vector_word(config))
        m.submodules.words = words = RegisterSlice(vector_word(config))
        m.submodules.writer = writer = VectorWriter(config)
        m.submodules.statistics = statistics = NormStatistics(config)
        quantize = self._norm(m, platform, statistics, array)

        # sums become floats and meet the residual stream, their gate, or nothing
        wiring.connect(m, wiring.flipped(self.control.array), array.i_command)
        wiring.connect(m, array.o, rescale.i)
        wiring.connect(m, rescale.o, rescaled.i)
        wiring.connect(m, wiring.flipped(self.control.embed), embedding.i_command)
        wiring.connect(m, wiring.flipped(self.i_row), embedding.i)
        adds, gates = self._flag(Flags.RESIDUAL), self._flag(Flags.GATED)
        adding, gating = self._doing(Opcode.MATMUL) & adds, self._doing(Opcode.MATMUL) & gates
        m.d.comb += [
            rescale.i_factor.eq(self.control.factor),
            rescale.i_factor_en.eq(self.control.factor_en),
            gated.base.eq(self.control.base),
        ]
        plain = stream.Signature(vector_word(config)).create()
        route(m, platform, rescaled.o, [(adding, residual.i), (gating, gated.i), (~adding & ~gating, plain)])
        select(m, platform, [
            (self._doing(Opcode.EMBED), embedding.o),
            (self._doing(Opcode.ATTEND), self.i_words),
            (adding, residual.o),
            (gating, gated.o),
            (self._doing(Opcode.MATMUL) & ~adds & ~gates, plain),
        ], words.i)
        wiring.connect(m, words.o, writer.i)
        wiring.connect(m, writer.o, statistics.i)
        wiring.connect(m, writer.write, scratchpad.write)
        m.d.comb += [
            writer.base.eq(self.control.base),
            writer.words.eq(self.control.words),
            writer.watch.eq(self._flag(Flags.STATISTICS)),
            self.control.word_index.eq(writer.i.payload.index),
            self.control.word_taken.eq(writer.i.valid & writer.i.ready),
        ]

        # the scratchpad's one read port
        values = quantize.values
        values_address = scratchpad_address(m, config, column=values.column, word=values.addr)
        for owner, en, addr in (
            (self._doing(Opcode.QUANTIZE, Opcode.LM_HEAD), values.en, values_address),
            (self._doing(Opcode.ATTEND), self.read.en, self.read.addr),
            (adding, residual.read.en, residual.read.addr),
            (gating, gated.read.en, gated.read.addr),
        ):
            with m.If(owner):
                m.d.comb += [scratchpad.read.en.eq(en), scratchpad.read.addr.eq(addr)]
        m.d.comb += values.data.eq(scratchpad.values)
        for reader in (self.read, residual.read, gated.read):
            m.d.comb += reader.data.eq(scratchpad.read.data)
        return m

    def _norm(self, m: Module, platform: object, statistics: NormStatistics, array: SystolicArray) -> Quantize:
        """Payload to norm weights and array; statistics, scales and codes."""
        config, control = self.config, self.control
        m.submodules.norm_memory = norm_memory = NormMemory(config)
        m.submodules.norm_scale = norm_scale = NormScale(config)
        m.submodules.quantize = quantize = Quantize(config)
        m.submodules.pack = pack = PackActivations(config)
        route(m, platform, self.i_payload, [
            (self._doing(Opcode.LOAD_NORM), norm_memory.i), (self._doing(Opcode.MATMUL), array.i_weights)])
        wiring.connect(m, wiring.flipped(control.finish), statistics.i_finish)
        wiring.connect(m, statistics.o, wiring.flipped(control.statistics))
        wiring.connect(m, wiring.flipped(control.scale), norm_scale.i)
        wiring.connect(m, norm_scale.o, wiring.flipped(control.scaled))
        wiring.connect(m, wiring.flipped(control.quantize), quantize.i_command)
        quantizing, to_lm_head = self._doing(Opcode.QUANTIZE, Opcode.LM_HEAD), self._doing(Opcode.LM_HEAD)
        codes, out = quantize.o, self.o_activations
        m.d.comb += [
            norm_memory.start.eq(control.norm_start),
            norm_memory.count.eq(control.norm_count),
            control.norm_done.eq(norm_memory.done),
            norm_memory.read.en.eq(Mux(quantizing, quantize.norm.en, statistics.norm.en)),
            norm_memory.read.addr.eq(Mux(quantizing, quantize.norm.addr, statistics.norm.addr)),
            quantize.norm.data.eq(norm_memory.read.data),
            statistics.norm.data.eq(norm_memory.read.data),
            statistics.clear.eq(control.clear_statistics),
            # codes: to the array's activations, or to those of the LM head
            pack.i.payload.eq(codes.payload),
            pack.i.valid.eq(codes.valid & self._doing(Opcode.QUANTIZE)),
            out.payload.index.eq(codes.payload.index),
            out.payload.row.eq(control.head_column),
            out.payload.codes.eq(codes.payload.codes),
            out.valid.eq(codes.valid & to_lm_head),
            codes.ready.eq(to_lm_head | pack.i.ready),
            array.i_write.eq(pack.o),
            array.i_write_en.eq(pack.o_en),
            control.packed.eq(pack.o_done),
            control.codes_done.eq(codes.valid & codes.ready & codes.payload.last),
        ]
        return quantize
