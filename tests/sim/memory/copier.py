"""A small machine in front of the simulated memory: read engine to write engine."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.memory.axi import AxiError, axi_signature
from hw.memory.read_engine import ReadEngine
from hw.memory.write_engine import WriteEngine

__all__ = ["CHUNK_BEATS", "Copier", "PassThrough"]

CHUNK_BEATS = 32
"""Beats that are read by one client before the other has its turn."""


class Copier(wiring.Component):
    """Copies memory. Chunks are read by the stream and the gather client in turn, so that both ids are in use.

    Members:
        start: copies `chunks` chunks from `source` to `destination`, writing the bytes of each beat that `strobe` has.
        done: finished, every write is confirmed. clocks: since `start`.
        read_error, write_error: `AxiError`; ends the copying.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "m_axi_0": Out(axi_signature(config)),
            "start": In(1),
            "source": In(config.address_bits),
            "destination": In(config.address_bits),
            "chunks": In(32),
            "strobe": In(config.beat_bytes),
            "done": Out(1, init=1),
            "clocks": Out(64),
            "read_error": Out(AxiError),
            "write_error": Out(AxiError),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.reads = reads = ReadEngine(self.config)
        m.submodules.writes = writes = WriteEngine(self.config)
        for engine in (reads, writes):
            for (pin,), member, value in engine.axi.signature.flatten(engine.axi):
                port = getattr(self.m_axi_0, pin)
                m.d.comb += port.eq(value) if member.flow == wiring.Out else value.eq(port)
        m.d.comb += [self.read_error.eq(reads.error), self.write_error.eq(writes.error)]

        step = CHUNK_BEATS * self.config.beat_bytes
        asked, answered, beats = Signal(32), Signal(32), Signal(range(CHUNK_BEATS))
        m.d.comb += [
            reads.stream.payload.address.eq(self.source + asked * step),
            reads.stream.payload.beats.eq(CHUNK_BEATS),
            reads.gather.payload.eq(reads.stream.payload),
            reads.stream.valid.eq(~self.done & (asked != self.chunks) & ~asked[0]),
            reads.gather.valid.eq(~self.done & (asked != self.chunks) & asked[0]),
        ]
        with m.If((reads.stream.valid & reads.stream.ready) | (reads.gather.valid & reads.gather.ready)):
            m.d.sync += asked.eq(asked + 1)

        written = Signal(32)
        m.d.comb += [
            writes.request.payload.address.eq(self.destination + written * step),
            writes.request.payload.beats.eq(CHUNK_BEATS),
            writes.request.valid.eq(~self.done & (written != self.chunks)),
            writes.data.payload.strobe.eq(self.strobe),
        ]
        with m.If(writes.request.valid & writes.request.ready):
            m.d.sync += written.eq(written + 1)

        with m.If(answered[0]):
            m.d.comb += [
                writes.data.payload.data.eq(reads.o_gather.payload.data),
                writes.data.valid.eq(reads.o_gather.valid),
                reads.o_gather.ready.eq(writes.data.ready),
            ]
        with m.Else():
            m.d.comb += [
                writes.data.payload.data.eq(reads.o_stream.payload),
                writes.data.valid.eq(reads.o_stream.valid),
                reads.o_stream.ready.eq(writes.data.ready),
            ]
        with m.If(writes.data.valid & writes.data.ready):
            m.d.sync += beats.eq(beats + 1)
            with m.If(beats == CHUNK_BEATS - 1):
                m.d.sync += answered.eq(answered + 1)

        finished = (written == self.chunks) & (answered == self.chunks) & writes.idle
        failed = (reads.error != AxiError.NONE) | (writes.error != AxiError.NONE)
        with m.If(self.start):
            m.d.sync += [self.done.eq(0), asked.eq(0), answered.eq(0), written.eq(0), self.clocks.eq(0)]
        with m.Elif(~self.done):
            m.d.sync += [self.clocks.eq(self.clocks + 1), self.done.eq(finished | failed)]
        return m


class PassThrough(wiring.Component):
    """Pins `s_axi_...` of a bench in front of the memory."""

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({"s_axi": In(axi_signature(config)), "m_axi_0": Out(axi_signature(config))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        wiring.connect(m, wiring.flipped(self.s_axi), wiring.flipped(self.m_axi_0))
        return m
