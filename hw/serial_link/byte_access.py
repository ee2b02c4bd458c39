"""Byte access to memory at any address: memory engines with a byte stream in front of them."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.memory.axi import AxiError, axi_read_signature, axi_write_signature, beat_size
from hw.memory.read_engine import ReadEngine
from hw.memory.write_engine import WriteEngine

__all__ = ["MASKED_BYTE", "ByteReader", "ByteWriter", "port_config"]

MASKED_BYTE = data.StructLayout({"byte": 8, "write": 1})
"""A byte to write; with `write` 0 the memory keeps what it has there."""


def port_config(config: AccelConfig) -> AccelConfig:
    """Small engines of the same port: two short bursts in flight, which is far more than a serial line needs."""
    return AccelConfig(
        name="link", port_bits=config.port_bits, address_bits=config.address_bits,
        timeout_cycles=config.timeout_cycles, rows=config.beat_bytes // 4, inputs=20, vector=1,
        burst_beats=16, outstanding=2, stream_fifo_beats=32,
    )


def _members(config: AccelConfig, length_bits: int) -> dict[str, wiring.Member]:
    return {
        "start": In(1), "address": In(config.address_bits), "length": In(length_bits), "busy": Out(1),
        "error": Out(AxiError),
    }


class ByteReader(wiring.Component):
    """Reads 1 to 65,535 bytes from any address.

    Rules: `start` begins a read. `busy` falls when the last byte was accepted, or at an error, after which no byte
    comes. If the port has not answered an earlier read that failed, the read ends at once with TIMEOUT.

    Throughput: one byte per clock.

    Members:
        axi: AR and R.
        start, address, length: the read.
        busy: a read is under way.
        error: AxiError of the last read.
        o: bytes.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "axi": Out(axi_read_signature(config)), **_members(config, 16), "o": Out(stream.Signature(8)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.engine = engine = ReadEngine(port_config(config), gathers=False)
        wiring.connect(m, engine.axi, wiring.flipped(self.axi))
        size = beat_size(config)
        lane, left = Signal(size), Signal(16)
        taken = Signal()
        m.d.comb += [
            engine.stream.payload.address.eq(self.address),
            engine.stream.payload.beats.eq((self.address[:size] + self.length + config.beat_bytes - 1) >> size),
            engine.stream.valid.eq(self.start & engine.idle),
            self.o.payload.eq(Cat(engine.o_stream.payload).word_select(lane, 8)),
            self.o.valid.eq(self.busy & engine.o_stream.valid),
            taken.eq(self.o.valid & self.o.ready),
            engine.o_stream.ready.eq(taken & ((lane == config.beat_bytes - 1) | (left == 1))),
            engine.abort.eq(self.busy & (engine.error != AxiError.NONE)),
        ]
        with m.If(taken):
            m.d.sync += [lane.eq(lane + 1), left.eq(left - 1), self.busy.eq(left != 1)]
        with m.If(engine.abort):
            m.d.sync += [self.busy.eq(0), self.error.eq(engine.error)]
        with m.If(self.start):
            m.d.sync += [
                lane.eq(self.address), left.eq(self.length), self.busy.eq(engine.idle),
                self.error.eq(Mux(engine.idle, AxiError.NONE, AxiError.TIMEOUT)),
            ]
        return m


class ByteWriter(wiring.Component):
    """Writes 1 to 1,024 bytes to any address.

    Rules: `start` begins a write. `busy` falls when the memory has confirmed all bytes, or at an error, after which no
    byte is accepted. If the port has not answered an earlier write that failed, the write ends at once with TIMEOUT.

    Throughput: one byte per clock, and one clock more per beat.

    Members:
        axi: AW, W and B.
        start, address, length: the write.
        busy: a write is under way.
        error: AxiError of the last write.
        i: `length` MASKED_BYTEs.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "axi": Out(axi_write_signature(config)), **_members(config, 11), "i": In(stream.Signature(MASKED_BYTE)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.engine = engine = WriteEngine(port_config(config))
        wiring.connect(m, engine.axi, wiring.flipped(self.axi))
        size = beat_size(config)
        lane, left = Signal(size), Signal(11)
        word = Signal(data.ArrayLayout(unsigned(8), config.beat_bytes))
        strobe = Signal(config.beat_bytes)
        full = Signal()  # `word` waits for the engine
        m.d.comb += [
            engine.request.payload.address.eq(self.address),
            engine.request.payload.beats.eq((self.address[:size] + self.length + config.beat_bytes - 1) >> size),
            engine.request.valid.eq(self.start & engine.idle),
            engine.data.payload.data.eq(word),
            engine.data.payload.strobe.eq(strobe),
            engine.data.valid.eq(full),
            engine.abort.eq(self.busy & (engine.error != AxiError.NONE)),
            self.i.ready.eq(self.busy & ~full & (left != 0)),
        ]
        with m.If(full & engine.data.ready):
            m.d.sync += [full.eq(0), strobe.eq(0)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                word[lane].eq(self.i.payload.byte), strobe.bit_select(lane, 1).eq(self.i.payload.write),
                lane.eq(lane + 1), left.eq(left - 1), full.eq((lane == config.beat_bytes - 1) | (left == 1)),
            ]
        with m.If(self.busy & (left == 0) & ~full & engine.idle):
            m.d.sync += self.busy.eq(0)
        with m.If(engine.abort):
            m.d.sync += [self.busy.eq(0), self.error.eq(engine.error), full.eq(0), strobe.eq(0)]
        with m.If(self.start):
            m.d.sync += [
                lane.eq(self.address), left.eq(self.length), self.busy.eq(engine.idle),
                self.error.eq(Mux(engine.idle, AxiError.NONE, AxiError.TIMEOUT)),
            ]
        return m
