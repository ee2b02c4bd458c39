"""The machine's AXI port on a memory with narrower words."""

from __future__ import annotations

from amaranth.hdl import C, Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from boards.memory.port import memory_port
from hw.config import AccelConfig, ConfigError
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
        wide: the port of the machine. narrow: the port of the memory.
    """

    def __init__(self, config: AccelConfig, *, address_bits: int, data_bits: int) -> None:
        self.ratio, rest = divmod(config.port_bits, data_bits)
        if rest or self.ratio & (self.ratio - 1):
            raise ConfigError(f"{config.port_bits} bits of the machine are no power of two of {data_bits}-bit words")
        if config.burst_beats * self.ratio > 256:
            raise ConfigError(f"a burst of {config.burst_beats} beats is more than 256 words of {data_bits} bits: "
                              f"set burst_beats to {256 // self.ratio} at most")
        self.data_bits = data_bits
        super().__init__({
            "wide": In(axi_signature(config)),
            "narrow": Out(memory_port(address_bits, data_bits)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        wide, narrow, ratio, bits = self.wide, self.narrow, self.ratio, self.data_bits
        shift = ratio.bit_length() - 1
        inside = (wide.wdata.shape().width // 8).bit_length() - 1  # address bits inside a beat
        first_words = C((1 << shift) - 1, shift)
        for channel in ("ar", "aw"):
            for name in ("id", "burst", "valid"):
                m.d.comb += getattr(narrow, channel + name).eq(getattr(wide, channel + name))
            m.d.comb += [
                getattr(narrow, f"{channel}addr").eq(Cat(C(0, inside), getattr(wide, f"{channel}addr")[inside:])),
                getattr(narrow, f"{channel}len").eq(Cat(first_words, getattr(wide, f"{channel}len"))),
                getattr(narrow, f"{channel}size").eq((bits // 8).bit_length() - 1),
                getattr(wide, f"{channel}ready").eq(getattr(narrow, f"{channel}ready")),
            ]

        # ---- reads: the last word of a beat passes, those before it wait
        got, kept, worst = Signal(range(ratio)), Signal(bits * (ratio - 1)), Signal(2)
        complete = (got == ratio - 1) | narrow.rlast
        m.d.comb += [
            wide.rid.eq(narrow.rid),
            wide.rdata.eq(Cat(kept, narrow.rdata)),
            wide.rresp.eq(worst | narrow.rresp),
            wide.rlast.eq(narrow.rlast),
            wide.rvalid.eq(narrow.rvalid & complete),
            narrow.rready.eq(wide.rready | ~complete),
        ]
        with m.If(narrow.rvalid & narrow.rready):
            m.d.sync += [kept.eq(Cat(kept, narrow.rdata)[bits:]), got.eq(got + 1), worst.eq(worst | narrow.rresp)]
            with m.If(complete):
                m.d.sync += [got.eq(0), worst.eq(0)]

        # ---- writes: one word after the other, the beat is taken with the last
        sent = Signal(range(ratio))
        last = sent == ratio - 1
        m.d.comb += [
            narrow.wdata.eq(wide.wdata.word_select(sent, bits)),
            narrow.wstrb.eq(wide.wstrb.word_select(sent, bits // 8)),
            narrow.wlast.eq(wide.wlast & last),
            narrow.wvalid.eq(wide.wvalid),
            wide.wready.eq(narrow.wready & last),
            wide.bid.eq(narrow.bid),
            wide.bresp.eq(narrow.bresp),
            wide.bvalid.eq(narrow.bvalid),
            narrow.bready.eq(wide.bready),
        ]
        with m.If(narrow.wvalid & narrow.wready):
            m.d.sync += sent.eq(sent + 1)
        return m
