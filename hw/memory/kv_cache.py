"""Write side of the KV cache: it writes one quantised key or value row to its block (docs/isa.md)."""

from __future__ import annotations

from amaranth.hdl import C, Cat, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.contract.config import BLOCK_POSITIONS, AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import kv_codes, write_beat, write_request
from hw.watch import watch_stream

__all__ = ["KvAppend", "kv_row"]

SCALE_BYTES = 4
PAIR_BYTES = 2 * SCALE_BYTES


def kv_row(config: AccelConfig) -> data.StructLayout:
    """Where a row goes: byte address of its block, place in the block, bytes of a row, key or value."""
    return data.StructLayout({
        "block": unsigned(config.address_bits),
        "place": range(BLOCK_POSITIONS),
        "row_bytes": unsigned((config.max_head_dim * config.kv_bytes).bit_length()),
        "value": unsigned(1),
    })


class KvAppend(wiring.Component):
    """Packs the codes of a row into beats and writes them, then writes the scale of the row with byte strobes.

    Rules: the codes of a row follow on `i` after its `i_row`. Rows are whole beats (`ModelPlan`). A row makes two write
    requests: the row itself, then one beat whose strobes select the four bytes of the scale. A row may be read back
    when the write engine is idle again.

    Cost: a clock per V codes, one per beat, and four more.

    Members:
        i_row: kv_row.
        i: kv_codes; the scale of the last word is written.
        o_request: write_request; each comes before its beats.
        o: write_beat.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i_row": In(stream.Signature(kv_row(config))),
            "i": In(stream.Signature(kv_codes(config))),
            "o_request": Out(stream.Signature(write_request(config))),
            "o": Out(stream.Signature(write_beat(config))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name in ("o_request", "o"):
            watch_stream(m, platform, getattr(self, name), name)
        config = self.config
        beat_bytes = config.beat_bytes
        word_bits = config.kv_bits * config.vector
        words = config.port_bits // word_bits
        row = Signal(kv_row(config))
        scale = Signal(FLOAT_BITS)
        packed = Signal(config.port_bits)
        filled = Signal(range(words + 1))
        ended = Signal()

        row_start, pair = Signal(config.address_bits), Signal(config.address_bits)
        rows_before = Cat(row.place, row.value)  # the key rows of all positions lie before the values
        m.d.comb += [
            row_start.eq(row.block + BLOCK_POSITIONS * PAIR_BYTES + rows_before * row.row_bytes),
            pair.eq(row.block + row.place * PAIR_BYTES + row.value * SCALE_BYTES),
        ]
        beat_shift = exact_log2(beat_bytes)
        inside = pair[:beat_shift]
        scale_word = Cat(C(0, 32 - FLOAT_BITS), scale)

        with m.FSM():
            with m.State("ROW"):
                m.d.comb += self.i_row.ready.eq(1)
                m.d.sync += [row.eq(self.i_row.payload), filled.eq(0), ended.eq(0)]
                with m.If(self.i_row.valid):
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += [
                    self.o_request.valid.eq(1),
                    self.o_request.payload.address.eq(row_start),
                    self.o_request.payload.beats.eq(row.row_bytes >> beat_shift),
                ]
                with m.If(self.o_request.ready):
                    m.next = "CODES"
            with m.State("CODES"):
                with m.If(filled == words):
                    m.d.comb += [self.o.valid.eq(1), self.o.payload.strobe.eq(~0)]
                    m.d.comb += self.o.payload.data.as_value().eq(packed)
                    with m.If(self.o.ready):
                        m.d.sync += filled.eq(0)
                        with m.If(ended):
                            m.next = "SCALE REQUEST"
                with m.Else():
                    m.d.comb += self.i.ready.eq(1)
                    with m.If(self.i.valid):
                        codes = Cat(*self.i.payload.codes)
                        m.d.sync += [packed.eq(Cat(packed, codes)[word_bits:]), filled.eq(filled + 1)]
                        m.d.sync += [ended.eq(self.i.payload.last), scale.eq(self.i.payload.scale)]
            with m.State("SCALE REQUEST"):
                m.d.comb += [
                    self.o_request.valid.eq(1),
                    self.o_request.payload.address.eq(Cat(C(0, beat_shift), pair[beat_shift:])),
                    self.o_request.payload.beats.eq(1),
                ]
                with m.If(self.o_request.ready):
                    m.next = "SCALE"
            with m.State("SCALE"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.o.payload.data.as_value().eq(scale_word << (inside << 3)),
                    self.o.payload.strobe.eq(0b1111 << inside),
                ]
                with m.If(self.o.ready):
                    m.next = "ROW"
        return m
