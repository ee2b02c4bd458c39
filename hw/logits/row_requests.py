"""Read requests for single rows of the LM head, which a split head computes exact logits of."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.bound import bounded
from hw.contract.config import STRIPE_BYTES, AccelConfig
from hw.contract.head_layout import HeadLayout
from hw.contract.payloads import gather_request
from hw.memory.axi import beat_size
from hw.watch import watch, watch_stream

__all__ = ["RowRequests"]


class RowRequests(wiring.Component):
    """Makes the read requests for each row, where `HeadLayout` has it in the region of the head.

    All ports read the same beats of their own stripes, port n from the address + n * STRIPE_BYTES on: P rows, of which
    row i is that of port i mod P. With s rows of a group on a port and q = floor(i / P), the beats in front of the row
    on its port are those of the header, q rows, and the scales of floor(q / s) + 1 groups. With several ports a row is
    cut at the end of a stripe, and its other beats are a request of their own.

    The product is computed with a clock per bit of `row_beats`, because a row takes far longer to read.

    Rules: the region starts at a stripe if there are several ports, else at a beat. The next row is accepted when the
    last request of the row before has been.

    Latency: n + 3 clocks from a row to its request, n the significant bits of `row_beats`. Cost: n + 4 clocks per row,
    and 2 for each further request.

    Members:
        base: byte address of the region of the head, which begins with the header of its packet; steady.
        row_beats: beats of a row on a port; steady.
        i: rows of the vocabulary.
        o: gather_request of all ports, as the address on port 0; the requests of a row in ascending order.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "base": In(config.address_bits),
            "row_beats": In(range(HeadLayout.longest(config).row_beats + 1)),
            "i": In(stream.Signature(range(max(2, config.max_vocab)))),
            "o": Out(stream.Signature(gather_request(config))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        watch_stream(m, platform, self.o, "o")
        config, layout, request = self.config, HeadLayout.longest(self.config), self.o.payload
        first = config.header_beats + 1  # in front of it are the header and the scales of the first group
        beats = config.header_beats + layout.groups * layout.group_beats
        beat, left = Signal(range(beats + 1)), Signal.like(self.row_beats)
        bounded(platform, beat, "beat of the region of the head, on a port", "header_beats + groups group_beats", beats)
        bounded(platform, request.beats, "beats of a request for a row of the head", "ceil(max_hidden / B)",
                layout.row_beats)
        number = self.i.payload >> exact_log2(config.ports)
        factor, addend = Signal.like(self.row_beats), Signal.like(beat)
        with m.FSM():
            with m.State("ROW"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    beat.eq((number >> exact_log2(layout.port_rows)) + first),
                    addend.eq(number), factor.eq(self.row_beats), left.eq(self.row_beats),
                ]
                with m.If(self.i.valid):
                    m.next = "PRODUCT"
            with m.State("PRODUCT"):
                m.d.sync += [beat.eq(beat + Mux(factor[0], addend, 0)), addend.eq(addend << 1), factor.eq(factor >> 1)]
                with m.If(factor == 0):
                    m.next = "ADDRESS"
            with m.State("ADDRESS"):
                address, room = self._place(beat)
                m.d.sync += [request.address.eq(self.base + address), request.beats.eq(left)]
                with m.If(left > room):
                    m.d.sync += request.beats.eq(room)
                m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [beat.eq(beat + request.beats), left.eq(left - request.beats)]
                    m.next = "ADDRESS"
                    with m.If(left == request.beats):
                        m.next = "ROW"
        unit = STRIPE_BYTES if config.ports > 1 else config.beat_bytes
        with m.If(self.i.valid):
            watch(m, platform, self.base[:exact_log2(unit)] == 0, "the head starts at {:x}", self.base)
            watch(m, platform, self.row_beats != 0, "a row of no beats")
        return m

    def _place(self, beat: Signal) -> tuple[Any, Any]:
        """Bytes from the region to a beat of port 0, and how many beats of the port follow each other from there on."""
        size, ports = beat_size(self.config), exact_log2(self.config.ports)
        stripe_bits = exact_log2(STRIPE_BYTES) - size
        if not ports:
            return Cat(C(0, size), beat), HeadLayout.longest(self.config).row_beats
        place = beat[:stripe_bits]
        return Cat(C(0, size), place, C(0, ports), beat[stripe_bits:]), (1 << stripe_bits) - place
