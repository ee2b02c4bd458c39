"""The whole machine: wiring only, in the order of the diagram in docs/architecture.md."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.attention.attention import Attention
from hw.attention.rope_rows import RopeRows
from hw.contract.config import BOUNDARY_BYTES, STRIPE_BYTES, AccelConfig
from hw.contract.isa import Flags, Opcode
from hw.contract.register_map import ADDRESS_BITS, LogitsMode
from hw.control.activity import Activity
from hw.control.counters import Counters
from hw.control.faults import Faults
from hw.control.packets import PacketReader
from hw.control.registers import RegisterFile, axi_lite_signature
from hw.control.sequencer import Sequencer
from hw.dot.block_dots import BlockDots
from hw.logits.lm_head import LmHead
from hw.memory.axi import axi_signature
from hw.memory.memory_ports import MemoryPorts
from hw.streams import route, select, with_payload
from hw.vector_path import VectorPath

__all__ = ["Accelerator"]


class Accelerator(wiring.Component):
    """Runs a BitNet model: it reads an image and a prompt from memory and writes token ids and logits to memory.

    Rules: registers, memory ports, counters and `Faults` keep their state in a fault. All other units are held in reset
    from a fault until the abort has ended.

    Members:
        m_axi_<n>: AXI4 memory ports.
        s_axi_ctrl: AXI4-Lite registers (docs/registers.md).
        irq: interrupt, high from the end of a run, if register INTERRUPT enables it.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            **{f"m_axi_{n}": Out(axi_signature(config)) for n in range(config.ports)},
            "s_axi_ctrl": In(axi_lite_signature(ADDRESS_BITS)),
            "irq": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.registers = registers = RegisterFile(config)
        m.submodules.memory = memory = MemoryPorts(config)
        m.submodules.faults = faults = Faults()
        m.submodules.counters = counters = Counters()
        packets, sequencer, vectors, attention, rope_rows, dots, lm_head = parts = (
            PacketReader(config), Sequencer(config), VectorPath(config), Attention(config), RopeRows(config),
            BlockDots(config), LmHead(config))
        names = ("packets", "sequencer", "vectors", "attention", "rope_rows", "dots", "lm_head")
        for name, part in zip(names, parts, strict=True):
            m.submodules[name] = ResetInserter(faults.clear)(part)
        control, job = sequencer.vector, registers.job

        def doing(*opcodes: Opcode) -> Value:
            return control.busy & Cat(*(control.opcode == code.value for code in opcodes)).any()

        # ---- outside
        wiring.connect(m, wiring.flipped(self.s_axi_ctrl), registers.axi)
        wiring.connect(m, counters.count, registers.counters)
        for n in range(config.ports):
            wiring.connect(m, getattr(memory, f"axi_{n}"), wiring.flipped(getattr(self, f"m_axi_{n}")))
        for window in ("read", "write"):
            for edge in ("base", "end"):
                address = getattr(job, f"{window}_{edge}")
                m.d.comb += getattr(memory, f"{window}_window")[edge].eq(address >> exact_log2(BOUNDARY_BYTES))

        # ---- the packet stream, and who leads
        wiring.connect(m, sequencer.o_stream, memory.stream)
        wiring.connect(m, memory.o_stream, packets.i)
        wiring.connect(m, packets.o_header, sequencer.i_header)
        wiring.connect(m, control, vectors.control)
        wiring.connect(m, job, sequencer.job)
        to_lm_head = control.opcode == Opcode.LM_HEAD.value
        payload = with_payload(packets.o_payload, packets.o_payload.payload.data)
        route(m, platform, payload, [(~to_lm_head, vectors.i_payload), (to_lm_head, lm_head.i_beats)])

        # ---- attention and LM head
        wiring.connect(m, sequencer.o_rope, rope_rows.i_load)
        wiring.connect(m, attention.rope, rope_rows.read)
        wiring.connect(m, attention.read, vectors.read)
        wiring.connect(m, attention.o, vectors.i_words)
        wiring.connect(m, sequencer.o_attend, attention.i)
        wiring.connect(m, attention.dots, dots.attention)
        wiring.connect(m, lm_head.dots, dots.head)
        wiring.connect(m, vectors.o_activations, dots.i_activations)
        wiring.connect(m, sequencer.o_lm_head, lm_head.i_command)
        wiring.connect(m, sequencer.o_logits, lm_head.i_row)
        wiring.connect(m, lm_head.o_best, sequencer.i_best)
        m.d.comb += [
            attention.columns.eq(sequencer.columns),
            attention.descriptors.eq(sequencer.descriptors),
            attention.factors.eq(sequencer.factors),
            attention.kv_base.eq(job.kv_base),
            attention.slot_stride.eq(job.slot_stride),
            attention.kv_port_stride.eq(job.kv_port_stride),
            sequencer.attend_done.eq(attention.done),
            lm_head.keep.eq(job.logits_mode != LogitsMode.NONE.value),
            *([lm_head.listing.eq(job.logits_mode == LogitsMode.BEST.value)] if config.shortlist else []),
            lm_head.active.eq(to_lm_head),
            lm_head.scale.eq(sequencer.head_scale),
            lm_head.scale_en.eq(sequencer.head_scale_en),
            sequencer.logits_idle.eq(lm_head.idle),
            sequencer.start.eq(registers.start),
        ]

        # ---- reads beside the stream: prompt tokens between passes, embedding and RoPE rows, KV blocks, single rows
        embedding, attending, between = doing(Opcode.EMBED), doing(Opcode.ATTEND), ~control.busy
        gathered = memory.o_gather
        select(m, platform, [
            (between, sequencer.o_prompt), (embedding, sequencer.o_row),
        ], memory.gather)
        route(m, platform, gathered, [
            (between, sequencer.i_prompt),
            (embedding & ~sequencer.rope_row, vectors.i_row),
            (embedding & sequencer.rope_row, rope_rows.i),
        ])
        m.d.comb += sequencer.row_last.eq(gathered.valid & gathered.ready & gathered.payload.last & embedding)

        if config.candidates:
            m.d.comb += [
                lm_head.high.eq(to_lm_head & (control.flags & Flags.HIGH.value).any()),
                lm_head.guard.eq(job.guard),
                lm_head.base.eq(job.image_base + job.lm_head_offset),
                lm_head.clear_counts.eq(counters.clear),
                lm_head.i_activations.valid.eq(vectors.o_activations.valid),
                lm_head.i_activations.payload.eq(vectors.o_activations.payload),
                *(getattr(registers.status, name).eq(getattr(lm_head, name))
                  for name in ("rows_listed", "rows_rescored", "heads_repeated")),
                memory.kv_port_stride.eq(Mux(to_lm_head, STRIPE_BYTES, job.kv_port_stride)),
            ]
            select(m, platform, [(~to_lm_head, attention.o_read), (to_lm_head, lm_head.o_read)], memory.kv)
            route(m, platform, memory.o_kv, [(~to_lm_head, attention.i_beats), (to_lm_head, lm_head.i_rows)])
        else:
            wiring.connect(m, attention.o_read, memory.kv)
            wiring.connect(m, memory.o_kv, attention.i_beats)
            m.d.comb += memory.kv_port_stride.eq(job.kv_port_stride)

        # ---- writes: tokens between passes, KV rows on every port, logits
        for what in ("request", "write"):
            select(m, platform, [
                (between & lm_head.idle, getattr(sequencer, f"o_{what}")),
                (attending & lm_head.idle, getattr(attention, f"o_{what}_0")),
                (~lm_head.idle, getattr(lm_head, f"o_{what}")),
            ], memory.request_0 if what == "request" else memory.data_0)
        for n in range(1, config.ports):
            wiring.connect(m, getattr(attention, f"o_request_{n}"), getattr(memory, f"request_{n}"))
            wiring.connect(m, getattr(attention, f"o_write_{n}"), getattr(memory, f"data_{n}"))
        m.d.comb += [sequencer.write_idle.eq(memory.write_idle), attention.write_idle.eq(memory.write_idle)]

        # ---- faults, status, counters
        status, streamed = registers.status, memory.o_stream
        m.d.comb += [
            faults.abort.eq(registers.abort),
            memory.abort.eq(registers.abort),
            faults.read_error.eq(memory.read_error),
            faults.error_port.eq(memory.error_port),
            faults.write_error.eq(memory.write_error),
            faults.memory_idle.eq(memory.idle),
            faults.stream_error.eq(packets.o_error),
            faults.run_busy.eq(sequencer.busy),
            faults.run_done.eq(sequencer.done),
            faults.run_error.eq(sequencer.error),
            faults.interrupt_enable.eq(job.interrupt_enable),
            self.irq.eq(faults.irq),
            status.busy.eq(faults.busy),
            status.done.eq(faults.done),
            status.error.eq(faults.error),
            status.error_port.eq(faults.port),
            status.token_count.eq(sequencer.token_count),
            status.last_token.eq(sequencer.last_token),
            counters.clear.eq(registers.start & ~sequencer.busy & ~faults.clear),
        ]
        m.submodules.activity = activity = Activity()
        m.d.comb += [
            activity.running.eq(faults.running),
            activity.in_pass.eq(sequencer.in_pass),
            activity.busy.eq(control.busy),
            activity.opcode.eq(control.opcode),
            activity.beat.eq(streamed.valid & streamed.ready),
            activity.beat_awaited.eq(streamed.ready & ~streamed.valid),
            activity.payload_awaited.eq(packets.o_payload.ready & ~streamed.valid),
            activity.kv_beat.eq(memory.o_kv.valid & memory.o_kv.ready),
            activity.kv_awaited.eq(memory.o_kv.ready & ~memory.o_kv.valid),
            counters.enable.eq(activity.o),
        ]
        return m
