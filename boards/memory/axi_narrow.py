"""Adapter from the accelerator's AXI port to a memory with narrower words."""

from __future__ import annotations

from amaranth.hdl import C, Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from boards.memory.port import memory_port
from hw.contract.config import AccelConfig, ConfigError
from hw.memory.axi import axi_signature

__all__ = ["AxiNarrow"]


class AxiNarrow(wiring.Component):
    """A beat of the machine is `ratio` words of the memory, the lowest first; a burst stays a burst.

    Rules: the memory answers reads in the order of its AR, without interleaving. The answer of a beat is the worst of
    its words'. RLAST ends a beat, also where it comes early.

    Latency: none on the way out; a beat is complete with its last word. Throughput: a word per clock in either
    direction. Cost: ratio - 1 words of registers.

    Raises ConfigError where the longest burst of the machine is more than 256 words, which AXI cannot say.

    Members:
        machine: the port of the machine. memory: the port of the memory.
    """

    def __init__(self, config: AccelConfig, *, address_bits: int, data_bits: int) -> None:
        self.ratio, rest = divmod(config.port_bits, data_bits)
        if rest or self.ratio & (self.ratio - 1):
            raise ConfigError(f"the accelerator's port of {config.port_bits} bits is not a power of two times the "
                              f"memory's {data_bits} bits: change port_bits")
        if config.burst_beats * self.ratio > 256:
            raise ConfigError(f"a burst of {config.burst_beats} beats is more than 256 words of {data_bits} bits: "
                              f"set burst_beats to {256 // self.ratio} at most")
        self.data_bits = data_bits
        super().__init__({
            "machine": In(axi_signature(config)),
            "memory": Out(memory_port(address_bits, data_bits)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        machine, memory, ratio, bits = self.machine, self.memory, self.ratio, self.data_bits
        shift = exact_log2(ratio)
        inside = exact_log2(machine.wdata.shape().width // 8)  # address bits inside a beat
        first_words = C((1 << shift) - 1, shift)
        for channel in ("ar", "aw"):
            for name in ("id", "burst", "valid"):
                m.d.comb += getattr(memory, channel + name).eq(getattr(machine, channel + name))
            m.d.comb += [
                getattr(memory, f"{channel}addr").eq(Cat(C(0, inside), getattr(machine, f"{channel}addr")[inside:])),
                getattr(memory, f"{channel}len").eq(Cat(first_words, getattr(machine, f"{channel}len"))),
                getattr(memory, f"{channel}size").eq(exact_log2(bits // 8)),
                getattr(machine, f"{channel}ready").eq(getattr(memory, f"{channel}ready")),
            ]

        # ---- reads: the last word of a beat passes, those before it wait
        got, kept, worst = Signal(range(ratio)), Signal(bits * (ratio - 1)), Signal(2)
        complete = (got == ratio - 1) | memory.rlast
        m.d.comb += [
            machine.rid.eq(memory.rid),
            machine.rdata.eq(Cat(kept, memory.rdata)),
            machine.rresp.eq(worst | memory.rresp),
            machine.rlast.eq(memory.rlast),
            machine.rvalid.eq(memory.rvalid & complete),
            memory.rready.eq(machine.rready | ~complete),
        ]
        with m.If(memory.rvalid & memory.rready):
            m.d.sync += [kept.eq(Cat(kept, memory.rdata)[bits:]), got.eq(got + 1), worst.eq(worst | memory.rresp)]
            with m.If(complete):
                m.d.sync += [got.eq(0), worst.eq(0)]

        # ---- writes: one word after the other, the beat is taken with the last
        sent = Signal(range(ratio))
        last = sent == ratio - 1
        m.d.comb += [
            memory.wdata.eq(machine.wdata.word_select(sent, bits)),
            memory.wstrb.eq(machine.wstrb.word_select(sent, bits // 8)),
            memory.wlast.eq(machine.wlast & last),
            memory.wvalid.eq(machine.wvalid),
            machine.wready.eq(memory.wready & last),
            machine.bid.eq(memory.bid),
            machine.bresp.eq(memory.bresp),
            machine.bvalid.eq(memory.bvalid),
            memory.bready.eq(machine.bready),
        ]
        with m.If(memory.wvalid & memory.wready):
            m.d.sync += sent.eq(sent + 1)
        return m
