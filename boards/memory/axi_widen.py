"""Adapter from the accelerator's AXI port to a memory with wider words."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from boards.memory.port import memory_port
from hw.contract.config import AccelConfig, ConfigError
from hw.memory.axi import axi_signature
from hw.streams import Queue

__all__ = ["AxiWiden"]


class AxiWiden(wiring.Component):
    """A word of the memory is `ratio` beats of the machine, the lowest first; a burst stays a burst of fewer words.

    Rules: a burst may begin and end at any beat of a word; what it does not write of a word has no strobes. The memory
    answers reads in the order of its AR, without interleaving. Data of a write waits for its address. RLAST is the
    memory's and comes with the last beat of its word, so that a burst that is too short or too long is seen as one.

    Latency: none on the way of reads; a word to write goes out with its last beat. Throughput: a beat per clock in
    either direction. Cost: ratio - 1 beats of registers, two small FIFOs.

    Raises ConfigError where a word is no power of two, at least two, of beats.

    Members:
        machine: the port of the machine. memory: the port of the memory.
    """

    def __init__(self, config: AccelConfig, *, address_bits: int, data_bits: int) -> None:
        self.config = config
        self.ratio, rest = divmod(data_bits, config.port_bits)
        if rest or self.ratio < 2 or self.ratio & (self.ratio - 1):
            raise ConfigError(f"the memory's words of {data_bits} bits are not a power of two, at least 2, times the "
                              f"accelerator's {config.port_bits} bits: change port_bits")
        self.shift = exact_log2(self.ratio)
        super().__init__({
            "machine": In(axi_signature(config)),
            "memory": Out(memory_port(address_bits, data_bits)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._read(m)
        self._write(m)
        return m

    def _address(self, m: Module, channel: str) -> Any:
        """Forward addresses, and record for each burst which beats of its first and last word belong to it."""
        inside = exact_log2(self.config.beat_bytes)  # address bits inside a beat

        def machine(name: str) -> Signal:
            return getattr(self.machine, channel + name)

        def memory(name: str) -> Signal:
            return getattr(self.memory, channel + name)

        ends = data.StructLayout({"first": self.shift, "last": self.shift})
        bursts = Queue(ends, self.config.outstanding)
        m.submodules[f"{channel}_bursts"] = bursts
        first = machine("addr")[inside : inside + self.shift]
        last = first + machine("len")  # counted from the first beat of the first word
        m.d.comb += [
            memory("id").eq(machine("id")),
            memory("burst").eq(machine("burst")),
            memory("addr").eq(Cat(C(0, inside + self.shift), machine("addr")[inside + self.shift :])),
            memory("len").eq(last >> self.shift),
            memory("size").eq(inside + self.shift),
            memory("valid").eq(machine("valid") & bursts.i.ready),
            machine("ready").eq(memory("ready") & bursts.i.ready),
            bursts.i.payload.eq(Cat(first, last[: self.shift])),
            bursts.i.valid.eq(machine("valid") & machine("ready")),
        ]
        return bursts.o

    def _read(self, m: Module) -> None:
        """Read side: each word is held until its last beat is transferred."""
        machine, memory = self.machine, self.memory
        bursts = self._address(m, "ar")
        first, last = bursts.payload.first, bursts.payload.last
        inside, following = Signal(), Signal(self.shift)  # the burst has begun, and its next beat in the word
        beat = Mux(inside, following, first)
        ends = (beat == self.ratio - 1) | memory.rlast & (beat == last)
        m.d.comb += [
            machine.rid.eq(memory.rid),
            machine.rdata.eq(memory.rdata.word_select(beat, self.config.port_bits)),
            machine.rresp.eq(memory.rresp),
            machine.rlast.eq(memory.rlast & ends),
            machine.rvalid.eq(memory.rvalid & bursts.valid),
            memory.rready.eq(machine.rready & bursts.valid & ends),
            bursts.ready.eq(memory.rvalid & memory.rready & memory.rlast),
        ]
        with m.If(machine.rvalid & machine.rready):
            m.d.sync += [following.eq(beat + 1), inside.eq(~machine.rlast)]

    def _write(self, m: Module) -> None:
        """Write side: all beats of a word but the last are stored until the last arrives."""
        machine, memory, bits, lanes = self.machine, self.memory, self.config.port_bits, self.config.beat_bytes
        bursts = self._address(m, "aw")
        inside, following = Signal(), Signal(self.shift)
        beat = Mux(inside, following, bursts.payload.first)
        complete = (beat == self.ratio - 1) | machine.wlast
        for n in range(self.ratio):
            content, strobes = memory.wdata.word_select(n, bits), memory.wstrb.word_select(n, lanes)
            kept, kept_strobes = Signal(bits, name=f"kept_{n}"), Signal(lanes, name=f"kept_strobes_{n}")
            with m.If(beat == n):
                m.d.comb += [content.eq(machine.wdata), strobes.eq(machine.wstrb)]
            if n == self.ratio - 1:
                continue  # the last beat of a word never waits
            with m.Else():
                m.d.comb += [content.eq(kept), strobes.eq(kept_strobes)]
            with m.If(machine.wvalid & machine.wready):
                with m.If(complete):
                    m.d.sync += kept_strobes.eq(0)
                with m.Elif(beat == n):
                    m.d.sync += [kept.eq(machine.wdata), kept_strobes.eq(machine.wstrb)]
        m.d.comb += [
            memory.wlast.eq(machine.wlast),
            memory.wvalid.eq(machine.wvalid & bursts.valid & complete),
            machine.wready.eq(bursts.valid & (memory.wready | ~complete)),
            bursts.ready.eq(machine.wvalid & machine.wready & machine.wlast),
            machine.bid.eq(memory.bid),
            machine.bresp.eq(memory.bresp),
            machine.bvalid.eq(memory.bvalid),
            memory.bready.eq(machine.bready),
        ]
        with m.If(machine.wvalid & machine.wready):
            m.d.sync += [following.eq(beat + 1), inside.eq(~machine.wlast)]
