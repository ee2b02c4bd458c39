"""The whole machine: wiring only. Reads like the picture in docs/architecture.md, from the AXI port down."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.array.rescale import Rescale
from hw.array.systolic import SystolicArray
from hw.attention.attention import Attention
from hw.attention.rope_rows import RopeRows
from hw.contract.config import BOUNDARY_BYTES, AccelConfig
from hw.contract.isa import Flags, Opcode
from hw.contract.payloads import vector_word
from hw.contract.register_map import ADDRESS_BITS, ErrorCode, LogitsMode
from hw.control.counters import Counters
from hw.control.executor import Executor
from hw.control.packets import PacketReader
from hw.control.registers import RegisterFile, axi_lite_signature
from hw.control.token_loop import TokenLoop
from hw.embedding.embedding import EmbeddingRow
from hw.feedforward.gated_relu2 import GatedRelu2
from hw.logits.argmax import Argmax
from hw.logits.head import LmHead
from hw.logits.logits_writer import LogitsWriter
from hw.memory.axi import AxiError
from hw.memory.memory_ports import MemoryPorts
from hw.memory.row_address import RowAddress
from hw.memory.scratchpad import Scratchpad, scratchpad_address
from hw.memory.vector_writer import VectorWriter
from hw.norm.norm_memory import NormMemory
from hw.norm.pack_activations import PackActivations
from hw.norm.quantize import Quantize
from hw.norm.residual import Residual
from hw.norm.scale import NormScale
from hw.norm.statistics import NormStatistics
from hw.register_slice import RegisterSlice

__all__ = ["Accelerator"]


class Accelerator(wiring.Component):
    """Memory port in, tokens out. A fault stops everything behind the memory engines until an abort, and an abort lasts
    until the memory has answered what it owes.

    Members:
        m_axi_<n>: AXI4 memory ports; those behind the first only read.
        s_axi_ctrl: AXI4-Lite registers (docs/registers.md).
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            **{f"m_axi_{n}": Out(MemoryPorts.port_signature(config, n)) for n in range(config.ports)},
            "s_axi_ctrl": In(axi_lite_signature(ADDRESS_BITS)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        clear = Signal()

        def add(name: str, unit):
            """A unit that a fault or an abort resets."""
            m.submodules[name] = ResetInserter(clear)(unit)
            return unit

        # ---- outside: registers and memory ports, alive through a fault
        m.submodules.registers = registers = RegisterFile(config)
        m.submodules.memory = memory = MemoryPorts(config)
        wiring.connect(m, wiring.flipped(self.s_axi_ctrl), registers.axi)
        for window in ("read", "write"):
            for edge in ("base", "end"):
                address = getattr(registers, f"{window}_{edge}")
                m.d.comb += getattr(memory, f"{window}_window")[edge].eq(address >> exact_log2(BOUNDARY_BYTES))
        for n in range(config.ports):
            wiring.connect(m, getattr(memory, f"axi_{n}"), wiring.flipped(getattr(self, f"m_axi_{n}")))

        # ---- control
        packets = add("packets", PacketReader(config))
        executor = add("executor", Executor(config))
        loop = add("loop", TokenLoop(config))
        row_address = add("row_address", RowAddress(config))
        opcode, flags = executor.opcode, executor.flags

        def doing(*opcodes: Opcode) -> Value:
            return Cat(*(opcode == code.value for code in opcodes)).any()

        def flagged(flag: Flags) -> Value:
            return (flags & flag.value).any()

        for name in ("image_base", "prompt_address", "logits_address", "tokens_address", "stream_offset",
                     "stream_beats", "head_offset", "head_beats", "logits_beats", "batch", "prompt_length",
                     "start_position", "slot", "chunk", "max_new_tokens", "context", "vocabulary", "end_count",
                     "logits_mode"):
            m.d.comb += getattr(loop, name).eq(getattr(registers, name))
        for name in ("image_base", "embed_offset", "embed_stride", "rope_offset", "rope_stride"):
            m.d.comb += getattr(executor, name).eq(getattr(registers, name))
        m.d.comb += [
            loop.start.eq(registers.start),
            *(loop.end_ids[n].eq(getattr(registers, f"end_id_{n}")) for n in range(4)),
            loop.ended.eq(executor.ended),
            loop.head_done.eq(executor.head_done),
            executor.columns.eq(loop.columns),
            executor.tokens.eq(loop.tokens),
            executor.descriptors.eq(loop.descriptors),
            executor.head_column.eq(loop.head_column),
        ]
        wiring.connect(m, loop.o_stream, memory.stream)
        wiring.connect(m, memory.o_stream, packets.i)
        wiring.connect(m, packets.o_header, executor.i_header)
        wiring.connect(m, executor.o_row, row_address.i)
        wiring.connect(m, row_address.o, executor.i_address)

        # ---- the units
        norm_memory = add("norm_memory", NormMemory(config))
        statistics = add("statistics", NormStatistics(config))
        norm_scale = add("norm_scale", NormScale(config))
        quantize = add("quantize", Quantize(config))
        pack = add("pack", PackActivations(config))
        array = add("array", SystolicArray(config))
        rescale = add("rescale", Rescale(config))
        residual = add("residual", Residual(config))
        gated = add("gated", GatedRelu2(config))
        embedding = add("embedding", EmbeddingRow(config))
        rope_rows = add("rope_rows", RopeRows(config))
        attention = add("attention", Attention(config))
        head = add("head", LmHead(config))
        argmax = add("argmax", Argmax(config))
        logits = add("logits", LogitsWriter(config))
        words = add("words", RegisterSlice(vector_word(config)))
        writer = add("writer", VectorWriter(config))
        m.submodules.scratchpad = scratchpad = Scratchpad(config)

        # payloads
        payload = packets.o_payload
        for unit, code in ((norm_memory.i, Opcode.LOAD_NORM), (array.i_weights, Opcode.MATMUL),
                           (head.i_beats, Opcode.HEAD)):
            m.d.comb += [unit.payload.eq(payload.payload.data), unit.valid.eq(payload.valid & doing(code))]
            with m.If(doing(code)):
                m.d.comb += payload.ready.eq(unit.ready)

        # random reads: prompt tokens between passes, then embedding and RoPE rows, then KV blocks
        gathers = (
            (loop.o_gather, loop.i_gather, ~executor.busy),
            (executor.o_gather, embedding.i, doing(Opcode.EMBED) & ~executor.rope_gather & executor.busy),
            (executor.o_gather, rope_rows.i, doing(Opcode.EMBED) & executor.rope_gather & executor.busy),
            (attention.o_gather, attention.i_gather, doing(Opcode.ATTEND) & executor.busy),
        )
        for request, sink, owner in gathers:
            m.d.comb += [sink.payload.eq(memory.o_gather.payload), sink.valid.eq(memory.o_gather.valid & owner)]
            with m.If(owner):
                m.d.comb += [
                    memory.gather.payload.eq(request.payload), memory.gather.valid.eq(request.valid),
                    request.ready.eq(memory.gather.ready), memory.o_gather.ready.eq(sink.ready),
                ]
        m.d.comb += executor.gather_last.eq(
            memory.o_gather.valid & memory.o_gather.ready & memory.o_gather.payload.last & doing(Opcode.EMBED))

        # writes: tokens between passes, KV rows, logits
        writes = (
            (loop.o_request, loop.o_write, ~executor.busy & logits.idle),
            (attention.o_request, attention.o_write, doing(Opcode.ATTEND) & executor.busy),
            (logits.o_request, logits.o, ~logits.idle),
        )
        for request, beats, owner in writes:
            with m.If(owner):
                m.d.comb += [
                    memory.request.payload.eq(request.payload), memory.request.valid.eq(request.valid),
                    request.ready.eq(memory.request.ready),
                    memory.data.payload.eq(beats.payload), memory.data.valid.eq(beats.valid),
                    beats.ready.eq(memory.data.ready),
                ]
        m.d.comb += [loop.write_idle.eq(memory.write_idle), attention.write_idle.eq(memory.write_idle)]

        # norms and quantisation
        quantizing = doing(Opcode.QUANTIZE, Opcode.HEAD)
        wiring.connect(m, executor.o_finish, statistics.i_finish)
        wiring.connect(m, statistics.o, executor.i_statistics)
        wiring.connect(m, executor.o_scale, norm_scale.i)
        wiring.connect(m, norm_scale.o, executor.i_scale)
        wiring.connect(m, executor.o_quantize, quantize.i_command)
        m.d.comb += [
            norm_memory.start.eq(executor.norm_start),
            norm_memory.count.eq(executor.norm_count),
            executor.norm_done.eq(norm_memory.done),
            norm_memory.read.en.eq(Mux(quantizing, quantize.norm.en, statistics.norm.en)),
            norm_memory.read.addr.eq(Mux(quantizing, quantize.norm.addr, statistics.norm.addr)),
            quantize.norm.data.eq(norm_memory.read.data),
            statistics.norm.data.eq(norm_memory.read.data),
            statistics.clear.eq(executor.clear_statistics),
            # codes: to the array's activations, or to the head's
            pack.i.payload.eq(quantize.o.payload),
            pack.i.valid.eq(quantize.o.valid & doing(Opcode.QUANTIZE)),
            head.i_activations.payload.index.eq(quantize.o.payload.index),
            head.i_activations.payload.codes.eq(quantize.o.payload.codes),
            head.i_activations.valid.eq(quantize.o.valid & doing(Opcode.HEAD)),
            quantize.o.ready.eq(Mux(doing(Opcode.HEAD), head.i_activations.ready, pack.i.ready)),
            array.i_write.eq(pack.o),
            array.i_write_en.eq(pack.o_en),
            executor.packed.eq(pack.o_done),
            executor.codes_done.eq(quantize.o.valid & quantize.o.ready & quantize.o.payload.last),
        ]

        # matmul: sums become floats, meet the residual stream or their gate, and are written
        wiring.connect(m, executor.o_array, array.i_command)
        wiring.connect(m, array.o, rescale.i)
        adds, gates = flagged(Flags.RESIDUAL), flagged(Flags.GATED)
        m.d.comb += [
            rescale.i_factor.eq(executor.o_factor),
            rescale.i_factor_en.eq(executor.o_factor_en),
            residual.i.payload.eq(rescale.o.payload),
            gated.i.payload.eq(rescale.o.payload),
            residual.i.valid.eq(rescale.o.valid & adds),
            gated.i.valid.eq(rescale.o.valid & gates),
            gated.base.eq(executor.base),
        ]
        sources = (
            (doing(Opcode.EMBED), embedding.o),
            (doing(Opcode.ATTEND), attention.o),
            (doing(Opcode.MATMUL) & adds, residual.o),
            (doing(Opcode.MATMUL) & gates, gated.o),
            (doing(Opcode.MATMUL) & ~adds & ~gates, rescale.o),
        )
        for owner, source in sources:
            with m.If(owner):
                m.d.comb += [words.i.payload.eq(source.payload), words.i.valid.eq(source.valid)]
                m.d.comb += source.ready.eq(words.i.ready)
        with m.If(doing(Opcode.MATMUL) & adds):
            m.d.comb += rescale.o.ready.eq(residual.i.ready)
        with m.Elif(doing(Opcode.MATMUL) & gates):
            m.d.comb += rescale.o.ready.eq(gated.i.ready)
        wiring.connect(m, words.o, writer.i)
        wiring.connect(m, writer.o, statistics.i)
        wiring.connect(m, writer.write, scratchpad.write)
        m.d.comb += [
            writer.base.eq(executor.base),
            writer.words.eq(executor.words),
            writer.watch.eq(flagged(Flags.STATISTICS)),
            executor.word_index.eq(writer.i.payload.index),
            executor.word_taken.eq(writer.i.valid & writer.i.ready),
        ]

        # the scratchpad's one read port
        values = quantize.values
        values_address = scratchpad_address(m, config, column=values.column, word=values.addr)
        readers = (
            (quantizing, values.en, values_address),
            (doing(Opcode.ATTEND), attention.read.en, attention.read.addr),
            (doing(Opcode.MATMUL) & adds, residual.read.en, residual.read.addr),
            (doing(Opcode.MATMUL) & gates, gated.read.en, gated.read.addr),
        )
        for owner, en, addr in readers:
            with m.If(owner):
                m.d.comb += [scratchpad.read.en.eq(en), scratchpad.read.addr.eq(addr)]
        for reader in (values, attention.read, residual.read, gated.read):
            m.d.comb += reader.data.eq(scratchpad.read.data)

        # embedding, attention
        wiring.connect(m, executor.o_embed, embedding.i_command)
        wiring.connect(m, executor.o_rope, rope_rows.i_load)
        wiring.connect(m, attention.rope, rope_rows.read)
        wiring.connect(m, executor.o_attend, attention.i)
        m.d.comb += [
            executor.attend_done.eq(attention.done),
            attention.columns.eq(loop.columns),
            attention.descriptors.eq(loop.descriptors),
            attention.factors.eq(executor.factors),
            attention.kv_base.eq(registers.kv_base),
            attention.slot_stride.eq(registers.slot_stride),
        ]

        # head: every logit goes to the argmax, and to memory where it is asked for
        keep = registers.logits_mode != LogitsMode.NONE.value
        wiring.connect(m, executor.o_head, head.i_command)
        wiring.connect(m, loop.o_logits, logits.i_row)
        m.d.comb += [
            argmax.i.payload.eq(head.o.payload),
            logits.i.payload.eq(head.o.payload),
            argmax.i.valid.eq(head.o.valid & (logits.i.ready | ~keep)),
            logits.i.valid.eq(head.o.valid & argmax.i.ready),
            head.o.ready.eq(argmax.i.ready & (logits.i.ready | ~keep)),
            argmax.o.ready.eq(1),
            executor.best.eq(argmax.o.valid),
            loop.i_best.eq(argmax.o.payload),
            loop.logits_idle.eq(logits.idle),
        ]

        # ---- faults: the first one is kept, and everything behind the engines stands still in reset until an abort
        # has ended; the engines keep their error until then
        fault, running, aborting = Signal(ErrorCode), Signal(), Signal()
        fault_port = Signal.like(memory.error_port)
        with m.If((fault == ErrorCode.NONE) & ~aborting):
            with m.If(memory.read_error != AxiError.NONE):
                m.d.sync += [fault.eq(memory.read_error.as_value()), fault_port.eq(memory.error_port)]
            with m.Elif(memory.write_error != AxiError.NONE):
                m.d.sync += fault.eq(Cat(memory.write_error.as_value(), 1))
            with m.Elif(packets.o_error != ErrorCode.NONE):
                m.d.sync += fault.eq(packets.o_error)
        with m.If(registers.abort):
            m.d.sync += [fault.eq(ErrorCode.NONE), fault_port.eq(0), aborting.eq(1)]
        with m.Elif(memory.idle):
            m.d.sync += aborting.eq(0)
        m.d.comb += [
            clear.eq((fault != ErrorCode.NONE) | registers.abort | aborting),
            memory.abort.eq(registers.abort),
            running.eq(loop.busy & (fault == ErrorCode.NONE)),
            registers.busy.eq(running | aborting),
            registers.done.eq(loop.done | (fault != ErrorCode.NONE)),
            registers.error.eq(Mux(fault != ErrorCode.NONE, fault.as_value(), loop.error.as_value())),
            registers.error_port.eq(fault_port),
            registers.token_count.eq(loop.token_count),
            registers.last_token.eq(loop.last_token),
        ]

        # ---- counters
        m.submodules.counters = counters = Counters()
        m.d.comb += [
            counters.clear.eq(registers.start & ~loop.busy & ~clear),
            counters.cycles_en.eq(running),
            counters.stream_busy_en.eq(memory.o_stream.valid & memory.o_stream.ready),
            counters.stream_starved_en.eq(running & memory.o_stream.ready & ~memory.o_stream.valid),
            counters.array_waiting_en.eq(array.i_weights.valid & ~array.i_weights.ready),
            counters.stream_waiting_en.eq(running & memory.o_stream.valid & ~memory.o_stream.ready),
            counters.attention_busy_en.eq(executor.busy & doing(Opcode.ATTEND)),
            counters.head_busy_en.eq(executor.busy & doing(Opcode.HEAD)),
            counters.embed_busy_en.eq(executor.busy & doing(Opcode.EMBED)),
            counters.norm_busy_en.eq(executor.busy & doing(Opcode.LOAD_NORM, Opcode.QUANTIZE)),
            counters.matmul_busy_en.eq(executor.busy & doing(Opcode.MATMUL)),
        ]
        for name in Counters.NAMES:
            m.d.comb += getattr(registers, name).eq(getattr(counters, name))
        return m
