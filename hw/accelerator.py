"""The whole machine: wiring only, in the order of the diagram in docs/architecture.md."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, ResetInserter, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.attention.attention import Attention
from hw.attention.rope_rows import RopeRows
from hw.contract.config import BOUNDARY_BYTES, AccelConfig
from hw.contract.isa import Opcode
from hw.contract.register_map import ADDRESS_BITS, COUNTERS, LogitsMode
from hw.control.counters import Counters
from hw.control.faults import Faults
from hw.control.packets import PacketReader
from hw.control.registers import RegisterFile, axi_lite_signature
from hw.control.sequencer import Sequencer
from hw.logits.lm_head import LmHead
from hw.memory.memory_ports import MemoryPorts
from hw.streams import route, select, with_payload
from hw.vector_path import VectorPath

__all__ = ["Accelerator"]


class Accelerator(wiring.Component):
    """Runs a BitNet model: it reads an image and a prompt from memory and writes token ids and logits to memory.

    Rules: registers, memory ports, counters and `Faults` keep their state in a fault. All other units are held in reset
    from a fault until the abort has ended.

    Members:
        m_axi_<n>: AXI4 memory ports; only m_axi_0 has write channels.
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
        m.submodules.registers = registers = RegisterFile(config)
        m.submodules.memory = memory = MemoryPorts(config)
        m.submodules.faults = faults = Faults()
        m.submodules.counters = counters = Counters()
        packets, sequencer, vectors, attention, rope_rows, lm_head = parts = (
            PacketReader(config), Sequencer(config), VectorPath(config), Attention(config), RopeRows(config),
            LmHead(config))
        names = ("packets", "sequencer", "vectors", "attention", "rope_rows", "lm_head")
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
        wiring.connect(m, vectors.o_activations, lm_head.i_activations)
        wiring.connect(m, sequencer.o_lm_head, lm_head.i_command)
        wiring.connect(m, sequencer.o_logits, lm_head.i_row)
        m.d.comb += [
            attention.columns.eq(sequencer.columns),
            attention.descriptors.eq(sequencer.descriptors),
            attention.factors.eq(sequencer.factors),
            attention.kv_base.eq(job.kv_base),
            attention.slot_stride.eq(job.slot_stride),
            sequencer.attend_done.eq(attention.done),
            lm_head.keep.eq(job.logits_mode != LogitsMode.NONE.value),
            sequencer.best.eq(lm_head.best),
            sequencer.best_valid.eq(lm_head.best_valid),
            sequencer.logits_idle.eq(lm_head.idle),
            sequencer.start.eq(registers.start),
        ]

        # ---- random reads: prompt tokens between passes, then embedding and RoPE rows, then KV blocks
        embedding, attending, between = doing(Opcode.EMBED), doing(Opcode.ATTEND), ~control.busy
        gathered = memory.o_gather
        select(m, platform, [
            (between, sequencer.o_prompt), (embedding, sequencer.o_row), (attending, attention.o_gather),
        ], memory.gather)
        route(m, platform, gathered, [
            (between, sequencer.i_prompt),
            (embedding & ~sequencer.rope_row, vectors.i_row),
            (embedding & sequencer.rope_row, rope_rows.i),
            (attending, attention.i_gather),
        ])
        m.d.comb += sequencer.row_last.eq(gathered.valid & gathered.ready & gathered.payload.last & embedding)

        # ---- writes: tokens between passes, KV rows, logits
        writers = ((between & lm_head.idle, sequencer), (attending & lm_head.idle, attention), (~lm_head.idle, lm_head))
        select(m, platform, [(owner, unit.o_request) for owner, unit in writers], memory.request)
        select(m, platform, [(owner, unit.o_write) for owner, unit in writers], memory.data)
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
            status.busy.eq(faults.busy),
            status.done.eq(faults.done),
            status.error.eq(faults.error),
            status.error_port.eq(faults.port),
            status.token_count.eq(sequencer.token_count),
            status.last_token.eq(sequencer.last_token),
            counters.clear.eq(registers.start & ~sequencer.busy & ~faults.clear),
        ]
        counted = {
            "cycles": faults.running,
            "stream_busy": streamed.valid & streamed.ready,
            "stream_starved": faults.running & streamed.ready & ~streamed.valid,
            "array_waiting": vectors.array_waiting,
            "stream_waiting": faults.running & streamed.valid & ~streamed.ready,
            "attention_busy": doing(Opcode.ATTEND),
            "lm_head_busy": doing(Opcode.LM_HEAD),
            "embed_busy": doing(Opcode.EMBED),
            "norm_busy": doing(Opcode.LOAD_NORM, Opcode.QUANTIZE),
            "matmul_busy": doing(Opcode.MATMUL),
        }
        m.d.comb += [counters.enable[name].eq(counted[name]) for name in COUNTERS]
        return m
