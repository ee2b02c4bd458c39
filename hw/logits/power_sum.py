"""This file adds up the powers of the logits of each column: section 7.1 of docs/numerics.md."""

from __future__ import annotations

import itertools

from amaranth.hdl import Cat, Const, EnableInserter, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.bound import bounded
from hw.contract.config import AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.shortlist import (
    FRACTION_BITS,
    INDEX_BITS,
    MANTISSA_BITS,
    SCALE_FRACTION_BITS,
    SUM_FRACTION_BITS,
    WHOLE_BITS,
    power_table,
)
from hw.delay import delayed
from hw.logits.interfaces import POWER_SCALE, column_of, logit_word
from hw.logits.scaled_logit import SCALED_BITS, ScaledLogit
from hw.streams import RegisterSlice
from hw.watch import watch

__all__ = ["PowerSum"]

_REST_BITS = FRACTION_BITS - INDEX_BITS
_POWER_BITS = SUM_FRACTION_BITS + 1
_MOST_PLACES = 63
"""A rise of the reference by more clears the sum; a power that is shifted by so many places is 0."""


class PowerSum(wiring.Component):
    """Adds up the powers of two of the scaled logits of each column, relative to the column's reference.

    Scaled logits that are not below the reference raise it; their power then carries by how much. Where it arrives, the
    sum is shifted right one place per clock before the power is added, and everything behind it waits. So each sum sees
    its powers and shifts in the order of the rows, and no logit needs to know which others are under way. A reference,
    and a sum, is read, changed and written in one clock: logits of one column may come in successive clocks. Row 0 sets
    the reference, and its power replaces the sum, as one does behind a rise by 64 or more.

    The stages are: a `RegisterSlice`, so that `i.ready` falls only behind a transfer, as `fork` demands; those of
    `ScaledLogit`; the reference that the logit needs; the reference of the column; distance; table, twice, so that
    block RAM and multiplier can absorb the registers; product; power; shift by eights; shift by the rest; sum. The last
    one rounds too: the shifted power keeps its half bit, which is the carry of the addition.

    Rules: the scale of a column is written before its logits come, and is a normal float32. The rows of a column come
    in ascending order from 0, then padding. While `busy` is 1, `sum` and `reference` have no meaning.

    Latency: a logit is in the sum, and `busy` falls, `LATENCY` clocks after it was accepted. Throughput: one logit per
    clock while no reference rises; a rise by k costs k clocks, one by 64 or more none.

    Members:
        scale, scale_en: the scale of a column, a positive float32 without its sign.
        i: logits of the columns of a group, the columns in any order.
        busy: an accepted logit is not in its sum yet.
        column: selects `sum` and `reference`, in the same clock.
        sum: of the powers, with 35 fraction bits.
        reference: above all scaled logits of the column.
    """

    LATENCY = ScaledLogit.LATENCY + 11

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "scale": In(data.StructLayout({"column": column_of(config), "scale": POWER_SCALE})), "scale_en": In(1),
            "i": In(stream.Signature(logit_word(config))),
            "busy": Out(1),
            "column": In(column_of(config)),
            "sum": Out(_POWER_BITS + config.max_vocab.bit_length()),
            "reference": Out(signed(WHOLE_BITS + 2)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        columns, last = 1 << len(self.column), ScaledLogit.LATENCY + 8
        origin_shape = data.StructLayout({"column": column_of(self.config), "first": 1})
        m.submodules.words = words = RegisterSlice(data.StructLayout({"origin": origin_shape, "logit": FLOAT_BITS}))
        word = words.o.payload
        stages, shifting, go = Signal(last + 1), Signal(), Signal()
        m.d.comb += [
            words.i.valid.eq(self.i.valid & ~self.i.payload.padding),
            words.i.payload.origin.column.eq(self.i.payload.column),
            words.i.payload.origin.first.eq(self.i.payload.row == 0),
            words.i.payload.logit.eq(self.i.payload.logit),
            self.i.ready.eq(words.i.ready),
            words.o.ready.eq(go),
            go.eq(~shifting),
            self.busy.eq(words.o.valid | stages.any()),
        ]
        with m.If(go):
            m.d.sync += stages.eq(Cat(words.o.valid, stages))

        # The scaled logit, in stage L, and above it the reference that it needs, in the next.
        m.submodules.scales = scales = memory.Memory(shape=POWER_SCALE, depth=columns, init=[])
        write, read = scales.write_port(), scales.read_port(domain="comb")
        scaled = ScaledLogit()
        m.submodules.scaled = EnableInserter(go)(scaled)
        m.d.comb += [
            write.addr.eq(self.scale.column), write.data.eq(self.scale.scale), write.en.eq(self.scale_en),
            read.addr.eq(word.origin.column),
            scaled.i.eq(word.logit), scaled.scale.eq(read.data),
        ]
        with m.If(self.scale_en):
            exponent = self.scale.scale[SCALE_FRACTION_BITS:]
            watch(m, platform, exponent.any() & ~exponent.all(), "the scale of a column is no normal float32")
            other = ~words.o.valid | (word.origin.column != self.scale.column)
            watch(m, platform, other, "the scale of a column changes while a logit waits for it")
        logit, above = Signal(signed(SCALED_BITS)), Signal(self.reference.shape())
        with m.If(go):
            origin = delayed(m, word.origin, ScaledLogit.LATENCY + 1, name="origin")
            m.d.sync += [logit.eq(scaled.o), above.eq((scaled.o >> FRACTION_BITS) + 1)]

        # The reference of the column, and what happens to its sum before this power is added.
        m.submodules.references = references = memory.Memory(shape=self.reference.shape(), depth=columns, init=[])
        write, read = references.write_port(), references.read_port(domain="comb")
        rise, raised = Signal(signed(WHOLE_BITS + 3)), Signal()
        m.d.comb += [
            read.addr.eq(Mux(stages[last - 8], origin.column, self.column)),
            rise.eq(above - read.data),
            raised.eq(origin.first | (rise > 0)),
            write.addr.eq(origin.column), write.data.eq(above), write.en.eq(go & stages[last - 8] & raised),
            self.reference.eq(read.data),
        ]
        term = data.StructLayout({"column": column_of(self.config), "fresh": 1, "shift": range(_MOST_PLACES + 1)})
        raising, reference, logit_1 = Signal(term), Signal.like(above), Signal.like(logit)
        fresh = origin.first | (rise > _MOST_PLACES)
        with m.If(go):
            m.d.sync += [
                reference.eq(Mux(raised, above, read.data)),
                logit_1.eq(logit),
                raising.column.eq(origin.column),
                raising.fresh.eq(fresh),
                raising.shift.eq(Mux(raised & ~fresh, rise[:len(raising.shift)], 0)),
            ]
        shifted = self._power(m, platform, go, reference, logit_1)
        with m.If(go & stages[last - 7]):
            below = (reference << FRACTION_BITS) > logit_1
            watch(m, platform, below, "scaled logit {} is not below its reference {}", logit_1, reference)

        # The sum: first shifted, one place per clock.
        m.submodules.sums = sums = memory.Memory(shape=len(self.sum), depth=columns, init=[])
        write, read = sums.write_port(), sums.read_port(domain="comb")
        final = Signal(term)
        with m.If(go):
            coming = delayed(m, raising, 6, name="raising")
            m.d.sync += [final.eq(coming), shifting.eq(stages[last - 1] & coming.shift.any())]
        with m.Else():
            m.d.sync += [final.shift.eq(final.shift - 1), shifting.eq(final.shift != 1)]
        rounded = Cat(Const(1, 1), Mux(final.fresh, 0, read.data)) + shifted
        m.d.comb += [
            read.addr.eq(Mux(stages[last], final.column, self.column)),
            write.addr.eq(final.column),
            write.data.eq(Mux(shifting, read.data >> 1, rounded >> 1)),
            write.en.eq(stages[last]),
            self.sum.eq(read.data),
        ]
        bounded(platform, self.reference, "reference of the powers of a column", "2^19",
                1 << WHOLE_BITS, 1 - (1 << WHOLE_BITS))
        bounded(platform, self.sum, "sum of the powers of a column", "2^35 max_vocab",
                self.config.max_vocab << SUM_FRACTION_BITS)
        return m

    @staticmethod
    def _power(m: Module, platform: object, go: Signal, reference: Signal, logit: Signal) -> Signal:
        """Seven stages: the power of a logit relative to its reference, with a half bit below it."""
        values = power_table()
        drops = [here - following for here, following in itertools.pairwise(values)]
        word = data.StructLayout({"value": MANTISSA_BITS + 1, "drop": max(drops).bit_length()})
        m.submodules.table = table = memory.Memory(
            shape=word, depth=1 << INDEX_BITS,
            init=[{"value": value, "drop": drop} for value, drop in zip(values, drops, strict=False)],
        )
        read = table.read_port()
        distance_1, entry_3 = Signal(SCALED_BITS), Signal(word)
        whole = distance_1[FRACTION_BITS:]
        value_4, product_4 = Signal(MANTISSA_BITS + 1), Signal(len(entry_3.drop) + _REST_BITS)
        power_5 = Signal(_POWER_BITS)
        coarse_6, shifted_7 = Signal(_POWER_BITS + 1), Signal(_POWER_BITS + 1)
        m.d.comb += [read.addr.eq(distance_1[_REST_BITS:FRACTION_BITS]), read.en.eq(go)]
        with m.If(go):
            rest_3 = delayed(m, distance_1[:_REST_BITS], 2, name="rest")
            places_2 = delayed(m, Mux(whole > _MOST_PLACES, _MOST_PLACES, whole[:6]), 1, name="places")
            places_5 = delayed(m, places_2, 3, name="places_of_power")
            m.d.sync += [
                distance_1.eq((reference << FRACTION_BITS) - logit),
                entry_3.eq(read.data),
                value_4.eq(entry_3.value),
                product_4.eq(entry_3.drop * rest_3),
                power_5.eq((value_4 << _REST_BITS) - product_4),  # never negative: a value is far above its drop
                coarse_6.eq((power_5 << 1) >> Cat(Const(0, 3), places_5[3:])),
                shifted_7.eq(coarse_6 >> delayed(m, places_5[:3], 1, name="fine_places")),
            ]
        bounded(platform, distance_1, "distance of a scaled logit to its reference", "2^40 - 1", (1 << SCALED_BITS) - 1)
        bounded(platform, power_5, "power of a logit, before its shift", "2^35", 1 << SUM_FRACTION_BITS)
        return shifted_7
