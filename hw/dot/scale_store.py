"""The scales of keys and values of two blocks, as they lie between the keys in memory."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In
from amaranth.utils import exact_log2

from hw.contract.config import BLOCK_POSITIONS, AccelConfig
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.payloads import stream_beat
from hw.dot.banks import banked_memory
from hw.dot.read_ports import scales_read

__all__ = ["ScaleStore", "scale_tag"]

PAIR = data.StructLayout({"key": FLOAT_BITS, "value": FLOAT_BITS})
HALF_BITS = 32  # of a pair in memory: a float32


def scale_tag(config: AccelConfig) -> data.StructLayout:
    """What accompanies a beat that may be one of scales: with `valid` it is, of a group of keys of a bank."""
    return data.StructLayout({
        "valid": 1, "bank": unsigned(1), "group": range(BLOCK_POSITIONS // (config.ports * config.kv_pairs)),
    })


class ScaleStore(wiring.Component):
    """Keeps the scales of two blocks as machine floats, the upper 25 bits of each float32.

    A beat has, on each port, q pairs of scales: pair r of port p is that of position (group q + r) P + p.

    Rules: all beats are taken. Scales of positions that were not played are old or arbitrary.

    Latency: scales are in place a clock after their beat; a read takes READ_LATENCY clocks. Throughput: a beat and a
    read per clock. Memory: 2 * 64 / (P q) words of P q pairs.

    Members:
        tag: scale_tag of the beat.
        beat: stream_beat.
        read: scales_read.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "tag": In(scale_tag(config)), "beat": In(stream_beat(config)), "read": In(scales_read(config)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        pairs = config.ports * config.kv_pairs
        pair_bits = exact_log2(pairs)
        word = data.ArrayLayout(PAIR, pairs)
        m.submodules.scales = scales = banked_memory(word, 2 * BLOCK_POSITIONS // pairs)
        write, read = scales.write_port(), scales.read_port()
        m.d.comb += [
            write.en.eq(self.tag.valid),
            write.addr.eq(Cat(self.tag.group, self.tag.bank)),
            read.addr.eq(Cat(self.read.position[pair_bits:], self.read.bank)),
        ]
        beat = self.beat.as_value()
        for n in range(pairs):
            row, port = divmod(n, config.ports)
            low = port * config.port_bits + row * 2 * HALF_BITS
            m.d.comb += [
                write.data[n].key.eq(beat[low + HALF_BITS - FLOAT_BITS : low + HALF_BITS]),
                write.data[n].value.eq(beat[low + 2 * HALF_BITS - FLOAT_BITS : low + 2 * HALF_BITS]),
            ]
        chosen, pair = Signal(range(max(2, pairs))), Signal(PAIR)
        m.d.comb += pair.eq(Array(read.data)[chosen])
        m.d.sync += [
            chosen.eq(self.read.position[:pair_bits]), self.read.key.eq(pair.key), self.read.value.eq(pair.value),
        ]
        return m
