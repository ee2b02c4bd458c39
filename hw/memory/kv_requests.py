"""Write requests for the rows of the KV cache, on the ports where `KvLayout` has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.contract.config import BLOCK_POSITIONS, AccelConfig
from hw.contract.payloads import kv_shape, write_request
from hw.memory.axi import beat_size
from hw.memory.port_offsets import port_offsets
from hw.streams import Queue
from hw.watch import watch_stream

__all__ = ["KvRequests", "kv_place", "kv_row", "offer"]

QUEUED_ROWS = 2
"""Rows whose requests have been made and whose beats have not: addresses are computed while beats are written."""


def kv_row(config: AccelConfig) -> data.StructLayout:
    """Where a row goes: byte address of the keys of its block on port 0, place in the block, key or value."""
    return data.StructLayout({
        "block": unsigned(config.address_bits), "place": range(BLOCK_POSITIONS), "value": unsigned(1),
    })


def kv_place(config: AccelConfig) -> data.StructLayout:
    """Where the data of a row go: the port of its key and scales, the pair of scales in a beat, the element of a beat
    of values; key or value."""
    return data.StructLayout({
        "port": range(max(2, config.ports)), "pair": range(max(2, config.kv_pairs)),
        "element": range(config.kv_elements),
        "value": unsigned(1),
    })


def offer(m: Module, offered: Value, takers: Sequence[tuple[Value, Any]]) -> Value:
    """While `offered` is 1, offers a payload to all `wanted` streams, each of which accepts it in its own time.

    Args:
        takers: (wanted, stream) each; the caller assigns the payloads. `offered`, `wanted` and the payloads stay until
            the payload has been accepted.

    Returns:
        Whether the last of the streams accepts the payload in this clock.
    """
    accepted, waits = Signal(len(takers)), Signal(len(takers))
    for n, (wanted, taker) in enumerate(takers):
        m.d.comb += [
            taker.valid.eq(offered & wanted & ~accepted[n]),
            waits[n].eq(taker.valid & ~taker.ready),
        ]
    complete = offered & ~waits.any()
    with m.If(offered):
        m.d.sync += accepted.eq(Mux(complete, 0, accepted | Cat(taker.valid & taker.ready for _, taker in takers)))
    return complete


class KvRequests(wiring.Component):
    """Makes the write requests of each row, and says where the beats of the row go.

    A key is one request, on the port of its position. A value is a request of the same size on every port, for the
    elements of its group of positions, and then one of a beat on the port of its position, for the pair of scales.

    Rules: rows come as key, value of the same place, and so on: the address of the scales is kept from the key. The
    requests of a row precede its `o`. Requests run ahead of the data by QUEUED_ROWS rows, so memory has their addresses
    when the data come.

    Cost: a key takes 5 clocks and one for each significant bit of its group's number and of its row's number in the
    group; a value 6 clocks and one for each significant bit of its group's number.

    Members:
        shape: kv_shape, steady while there are rows.
        port_stride: bytes from the cache on a port to that on the next; steady from P clocks before the first row.
        i_row: kv_row.
        o_request_<n>: write_request of port n.
        o: kv_place, in the order of the rows.
        idle: no row is under way, and `o` is empty.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "shape": In(kv_shape(config)),
            "port_stride": In(config.address_bits),
            "i_row": In(stream.Signature(kv_row(config))),
            **{f"o_request_{n}": Out(stream.Signature(write_request(config))) for n in range(config.ports)},
            "o": Out(stream.Signature(kv_place(config))),
            "idle": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, shape = self.config, self.shape
        row, place = Signal(kv_row(config)), self.i_row.payload.place
        m.submodules.rows = rows = Queue(kv_place(config), QUEUED_ROWS)
        wiring.connect(m, rows.o, wiring.flipped(self.o))
        port_bits, group_bits = exact_log2(config.ports), exact_log2(config.ports * config.kv_pairs)
        port, pair = row.place[:port_bits], row.place[port_bits:group_bits]
        m.d.comb += [
            rows.i.payload.port.eq(port),
            rows.i.payload.pair.eq(pair),
            rows.i.payload.element.eq(row.place[: exact_log2(config.kv_elements)]),
            rows.i.payload.value.eq(row.value),
        ]

        # Each clock adds to the address. A product takes a clock per bit of its factor.
        address, scales = Signal(config.address_bits), Signal(config.address_bits)
        factor = Signal(len(place))
        addend = Signal(max(len(shape.key_group_beats), len(shape.value_group_beats)) + len(place) - 1)
        beats = Signal(max(len(addend), len(shape.keys_beats)))
        m.d.comb += beats.eq(Mux(factor[0], addend, 0))
        m.d.sync += [
            address.eq(address + Cat(C(0, beat_size(config)), beats)), factor.eq(factor >> 1), addend.eq(addend << 1),
        ]

        scaling, requesting = Signal(), Signal()
        takers = []
        for n, offset in enumerate(port_offsets(m, config, self.port_stride)):
            output = getattr(self, f"o_request_{n}")
            watch_stream(m, platform, output, f"o_request_{n}")
            m.d.comb += [
                output.payload.address.eq(address + offset),
                output.payload.beats.eq(Mux(scaling, 1, Mux(row.value, shape.value_group_beats, shape.key_beats))),
            ]
            takers.append(((row.value & ~scaling) | (port == n), output))
        complete = offer(m, requesting, takers)
        with m.FSM() as fsm:
            with m.State("ROW"):
                m.d.comb += self.i_row.ready.eq(1)
                m.d.sync += [
                    row.eq(self.i_row.payload),
                    address.eq(self.i_row.payload.block),
                    factor.eq(place >> group_bits),
                    addend.eq(shape.key_group_beats),
                ]
                with m.If(self.i_row.payload.value):
                    m.d.sync += [
                        factor.eq(place >> exact_log2(config.kv_elements)), addend.eq(shape.value_group_beats),
                    ]
                with m.If(self.i_row.valid):
                    m.next = "GROUP"
            with m.State("GROUP"):
                with m.If((factor == 0) & row.value):  # the values of a block lie behind its keys
                    m.d.comb += beats.eq(shape.keys_beats)
                    m.next = "REQUEST"
                with m.Elif(factor == 0):  # the group of the key starts with the scales
                    m.d.comb += beats.eq(1)
                    m.d.sync += [scales.eq(address), factor.eq(pair), addend.eq(shape.key_beats)]
                    m.next = "ROW IN GROUP"
            with m.State("ROW IN GROUP"):
                with m.If(factor == 0):
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += requesting.eq(1)
                with m.If(complete):
                    m.d.sync += [address.eq(scales), scaling.eq(row.value & ~scaling)]
                    with m.If(~row.value | scaling):
                        m.next = "PLACE"
            with m.State("PLACE"):
                m.d.comb += rows.i.valid.eq(1)
                with m.If(rows.i.ready):
                    m.next = "ROW"
        m.d.comb += self.idle.eq(fsm.ongoing("ROW") & ~rows.o.valid)
        return m
