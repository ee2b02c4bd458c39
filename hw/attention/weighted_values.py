"""This file adds up the value rows of a block of positions, each times its softmax weight."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attention.softmax import WEIGHT_BITS
from hw.bound import bounded
from hw.contract.config import BLOCK_POSITIONS, AccelConfig, ceil_div
from hw.contract.payloads import beat
from hw.delay import delayed
from hw.watch import watch_range, watch_stream

__all__ = ["WeightedValues", "block_weights", "value_beat", "value_sum_bits", "value_sums"]


def largest_value_sum(config: AccelConfig) -> int:
    """Largest magnitude of the sum of a block's weighted values of one element."""
    return BLOCK_POSITIONS * (2**WEIGHT_BITS - 1) * (2 ** (config.kv_bits - 1) - 1)


def value_sum_bits(config: AccelConfig) -> int:
    """Its signed width."""
    return largest_value_sum(config).bit_length() + 1


def block_weights() -> data.ArrayLayout:
    """The weight of each position of a block, from its first."""
    return data.ArrayLayout(unsigned(WEIGHT_BITS), BLOCK_POSITIONS)


def value_beat(config: AccelConfig) -> data.StructLayout:
    """One beat of value rows; `last` marks the last beat of its row, `last_row` all beats of the block's last row.

    A row is a whole number of beats, and all rows of a block are as long.
    """
    return data.StructLayout({"beat": beat(config), "last": 1, "last_row": 1})


def value_sums(config: AccelConfig) -> data.StructLayout:
    """V exact sums of a block, in the order of the elements; `last` marks the last word."""
    return data.StructLayout({
        "sums": data.ArrayLayout(signed(value_sum_bits(config)), config.vector),
        "last": 1,
    })


class WeightedValues(wiring.Component):
    """Exact `sum w16_i * v_i` over 1 to 16 positions of a block for each element: section 5 of docs/numerics.md.

    One multiplier per element of a beat. The sums of a row's elements wait in a memory of one word per beat of a row,
    which each row reads and writes again; the first row starts from zero.

    Cycles: one beat per clock. The first sums come `LATENCY` clocks after the last beat of the block, then V per clock;
    the next block is taken when all sums have been.

    Members:
        weights: one word per block; it stays until the last beat of its block is taken.
        i: value rows of one block after the other.
        o: the sums of each.
    """

    LATENCY = 3

    def __init__(self, config: AccelConfig):
        self.config = config
        super().__init__({
            "weights": In(stream.Signature(block_weights())),
            "i": In(stream.Signature(value_beat(config))),
            "o": Out(stream.Signature(value_sums(config))),
        })

    def elaborate(self, platform):
        m = Module()
        watch_stream(m, platform, self.o, "o")
        config = self.config
        lanes = config.beat_bytes // config.kv_bytes
        parts = lanes // config.vector
        sum_bits = value_sum_bits(config)
        depth = ceil_div(config.max_head_dim, lanes)
        word = data.ArrayLayout(signed(sum_bits), lanes)
        m.submodules.sums = sums = memory.Memory(shape=word, depth=depth, init=[])
        write, read = sums.write_port(), sums.read_port(domain="comb")
        stored = Signal(word)
        m.d.comb += stored.eq(read.data)

        # Operands, then products, then sums: what is added to a word is written before the next clock reads it.
        accepting, taken, block_end = Signal(), Signal(), Signal()
        row, place, end = Signal(range(BLOCK_POSITIONS)), Signal(range(depth)), Signal(range(depth))
        weight = Signal(signed(WEIGHT_BITS + 1))
        m.d.comb += [
            self.i.ready.eq(accepting & self.weights.valid),
            taken.eq(self.i.valid & self.i.ready),
            block_end.eq(taken & self.i.payload.last & self.i.payload.last_row),
            self.weights.ready.eq(block_end),
        ]
        m.d.sync += weight.eq(self.weights.payload[row])
        with m.If(taken):
            m.d.sync += place.eq(place + 1)
            with m.If(self.i.payload.last):
                m.d.sync += [place.eq(0), row.eq(row + 1)]
        with m.If(block_end):
            m.d.sync += [row.eq(0), end.eq(place)]

        adding = delayed(m, taken, 2, name="taken")
        first_row = delayed(m, row == 0, 2, name="first_row")
        adding_place = delayed(m, place, 2, name="place")
        ended = delayed(m, block_end, 2, name="block_end")
        codes = data.ArrayLayout(signed(config.kv_bits), lanes)
        code = Signal(codes)
        m.d.sync += code.eq(self.i.payload.beat.as_value())
        largest = BLOCK_POSITIONS * 32767 * (2 ** (config.kv_bits - 1) - 1)
        bounded(platform, self.o.payload.sums[0], "value dot", "16 * 32767 L", largest, -largest)
        for lane in range(lanes):
            product = Signal(signed(WEIGHT_BITS + 1 + config.kv_bits), name=f"product_{lane}")
            kept = Signal(signed(sum_bits), name=f"kept_{lane}")
            bounded(platform, kept, "accumulator of a value dot", "16 * 32767 L", largest, -largest)
            m.d.sync += product.eq(weight * code[lane])
            m.d.comb += [kept.eq(Mux(first_row, 0, stored[lane])), write.data[lane].eq(kept + product)]
            with m.If(adding):
                watch_range(m, platform, kept + product, largest_value_sum(config), "a sum")

        part, out_place = Signal(range(parts)), Signal(range(depth))
        m.d.comb += [
            write.addr.eq(adding_place),
            write.en.eq(adding),
            read.addr.eq(Mux(self.o.valid, out_place, adding_place)),
            self.o.payload.last.eq((out_place == end) & (part == parts - 1)),
        ]
        for lane in range(config.vector):
            choices = Array(stored[n + lane] for n in range(0, lanes, config.vector))
            m.d.comb += self.o.payload.sums[lane].eq(choices[part])
        with m.FSM():
            with m.State("rows"):
                m.d.comb += accepting.eq(1)
                with m.If(block_end):
                    m.next = "add"
            with m.State("add"), m.If(ended):
                m.next = "emit"
            with m.State("emit"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += part.eq(part + 1)
                    with m.If(part == parts - 1):
                        m.d.sync += [part.eq(0), out_place.eq(out_place + 1)]
                    with m.If(self.o.payload.last):
                        m.d.sync += out_place.eq(0)
                        m.next = "rows"
        return m
