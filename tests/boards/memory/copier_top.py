"""The memory path of a board without the accelerator: clocks, pads and controller behind machines that move data."""

from __future__ import annotations

from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Instance, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from boards.board import Board
from boards.soc import width_adapter
from hw.memory.axi import AxiError, axi_signature
from hw.memory.read_engine import ReadEngine
from tests.sim.memory.copier import Copier

__all__ = ["CopierTop"]


class CopierTop(Elaboratable):
    """`traffic`, a Verilog module of the bench, says when to copy what and looks at the chip afterwards."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.board.config
        m.domains += [ClockDomain(name) for name in self.board.domains]
        if self.board.clock:
            m.submodules.clock = self.board.clock()
        m.submodules.memory = memory = self.board.memory()
        m.submodules.width = width = width_adapter(config, memory.axi)
        wiring.connect(m, width.memory, memory.axi)

        m.submodules.copier = copier = Copier(config)
        m.submodules.reader = reader = ReadEngine(config, gathers=False)
        source, chunks, strobe = Signal(config.address_bits), Signal(32), Signal(config.beat_bytes)
        read, read_start = Signal(), Signal()
        m.d.comb += [copier.strobe.eq(strobe), copier.source.eq(source), copier.chunks.eq(chunks)]
        for name, member in axi_signature(config).members.items():
            pin, copies, reads = (getattr(a, name, None) for a in (width.machine, copier.m_axi_0, reader.axi))
            if member.flow is In:
                m.d.comb += copies.eq(Mux(read, 0, pin))
                if reads is not None:
                    m.d.comb += reads.eq(Mux(read, pin, 0))
            else:
                m.d.comb += pin.eq(copies if reads is None else Mux(read, reads, copies))
        m.d.comb += [
            reader.stream.payload.address.eq(source),
            reader.stream.payload.beats.eq(chunks),
            reader.stream.valid.eq(read_start),
            reader.o_stream.ready.eq(1),
        ]
        failed = (copier.read_error != AxiError.NONE) | (copier.write_error != AxiError.NONE)
        m.submodules.traffic = Instance(
            "traffic", i_clk=ClockSignal(), i_ready=memory.ready, i_done=copier.done, i_failed=failed,
            o_start=copier.start, o_source=source, o_destination=copier.destination, o_chunks=chunks, o_strobe=strobe,
            o_read=read, o_read_start=read_start, i_read_valid=reader.o_stream.valid,
            i_read_data=reader.o_stream.payload.as_value(),
        )
        return m
