"""Cuts a contiguous region of memory into AXI bursts."""

from __future__ import annotations

from amaranth.hdl import C, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.contract.config import BOUNDARY_BYTES, STRIPE_BYTES, AccelConfig
from hw.memory.axi import beat_size, burst_request, page_window
from hw.watch import watch_stream

__all__ = ["BurstSplitter", "burst_layout"]


def burst_layout(config: AccelConfig) -> data.StructLayout:
    """One burst: byte address, beats (1 to 256), whether it ends its region, and whether it lies in the window."""
    return data.StructLayout({
        "address": unsigned(config.address_bits), "beats": unsigned(9), "final": unsigned(1), "inside": unsigned(1),
    })


class BurstSplitter(wiring.Component):
    """Splits regions of any length into bursts that AXI allows.

    Rules: a burst has at most `limit` beats and never crosses 4 KB; bursts leave in address order. A region of 0 beats
    yields none. The address is rounded down to a beat. With `stripes` above 1 a region lies in aligned stripes of
    STRIPE_BYTES, of which every `stripes`-th is read: after each stripe the address skips the others.

    Latency: 2 clocks from a region to its first burst. Throughput: one burst per clock, with one idle clock between
    regions.

    Members:
        i: regions, `burst_request(config, beat_bits)`.
        window: `page_window(config)`; steady while regions are split.
        o: bursts, `burst_layout(config)`, registered. A burst outside of the window is marked, not dropped.
        busy: a region is under way, or a burst waits at `o`.
    """

    def __init__(self, config: AccelConfig, *, beat_bits: int, limit: int, stripes: int = 1) -> None:
        if not 1 <= limit <= 256:
            raise ValueError(f"a burst has 1 to 256 beats, so the limit cannot be {limit}")
        self.config = config
        self.beat_bits = beat_bits
        self.limit = limit
        self.stripes = stripes
        super().__init__({
            "i": In(stream.Signature(burst_request(config, beat_bits))),
            "window": page_window(config),
            "o": Out(stream.Signature(burst_layout(config))),
            "busy": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size = beat_size(self.config)
        page_beats = BOUNDARY_BYTES // self.config.beat_bytes
        page_bits = exact_log2(page_beats)

        index = Signal(self.config.address_bits - size)  # address in beats
        remaining = Signal(self.beat_bits)
        active = Signal()

        to_boundary = Signal(page_bits + 1)
        allowed = Signal(9)
        length = Signal(9)
        final = Signal()
        m.d.comb += [
            to_boundary.eq(page_beats - index[:page_bits]),
            allowed.eq(self.limit),
            length.eq(allowed),
            final.eq(0),
            self.i.ready.eq(~active),
            self.busy.eq(active | self.o.valid),
        ]
        with m.If(to_boundary < self.limit):
            m.d.comb += allowed.eq(to_boundary)
        with m.If(remaining <= allowed):
            m.d.comb += [length.eq(remaining), final.eq(1)]
        with m.Else():
            m.d.comb += length.eq(allowed)

        stripe_bits = exact_log2(STRIPE_BYTES >> size)
        following = Signal.like(index)
        ends_stripe = index[page_bits:stripe_bits].all() & (length == to_boundary)
        skipped = Cat(C(0, stripe_bits), (index[stripe_bits:] + self.stripes)[: len(index) - stripe_bits])
        m.d.comb += following.eq(Mux(ends_stripe & (self.stripes > 1), skipped, index + length))

        page = index[page_bits:]
        watch_stream(m, platform, self.o, "o")
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(active & (~self.o.valid | self.o.ready)):
            m.d.sync += [
                self.o.valid.eq(1),
                self.o.payload.address.eq(index << size),
                self.o.payload.beats.eq(length),
                self.o.payload.final.eq(final),
                self.o.payload.inside.eq((page >= self.window.base) & (page < self.window.end)),
                index.eq(following),
                remaining.eq(remaining - length),
                active.eq(~final),
            ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                index.eq(self.i.payload.address >> size),
                remaining.eq(self.i.payload.beats),
                active.eq(self.i.payload.beats != 0),
            ]
        return m
