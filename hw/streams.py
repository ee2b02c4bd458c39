"""Parts for wiring streams: a queue, a register slice, and functions that join, fork, select and route.

The functions add combinational logic to a module, without latency or registers. They take the module's own ports
without `flipped`. A condition is 1 bit; `1` is a condition that always holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from amaranth.hdl import C, Module, Shape, Signal, Value, ValueLike
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.watch import watch, watch_stream

__all__ = ["Queue", "RegisterSlice", "fork", "join", "route", "select", "with_payload"]


class Queue(wiring.Component):
    """Stores payloads in a FIFO.

    Latency: one clock; two with `buffered`. Throughput: one payload per clock; a full queue accepts none in the clock
    in which one leaves. Cost: `depth` payloads of memory that is read without a clock, which becomes LUTs or registers;
    with `buffered`, block RAM for all but one of them.

    Members:
        i, o: streams of the given shape.
        level: number of stored payloads, 0 to `depth`.
    """

    def __init__(self, shape: Any, depth: int, *, buffered: bool = False) -> None:
        self.shape, self.depth, self.buffered = shape, depth, buffered
        super().__init__({
            "i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)), "level": Out(range(depth + 1)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        kind = fifo.SyncFIFOBuffered if self.buffered else fifo.SyncFIFO
        m.submodules.fifo = inside = kind(width=Shape.cast(self.shape).width, depth=self.depth)
        wiring.connect(m, wiring.flipped(self.i), inside.w_stream)
        wiring.connect(m, inside.r_stream, wiring.flipped(self.o))
        m.d.comb += self.level.eq(inside.level)
        return m


class RegisterSlice(wiring.Component):
    """Cuts combinational paths of a stream in both directions.

    Neither `o.valid` nor `i.ready` depends on the other side in the same clock. Payloads pass unchanged.

    Latency: one clock. Throughput: one payload per clock. Cost: registers for two payloads.

    Members:
        i, o: streams of the given shape.
    """

    def __init__(self, shape: Any) -> None:
        self.shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        watch_stream(m, platform, self.o, "o")
        spare, kept = Signal.like(self.i.payload), Signal()  # what came while the output waited
        m.d.comb += self.i.ready.eq(~kept)
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [self.o.valid.eq(self.i.valid | kept), kept.eq(0), self.o.payload.eq(self.i.payload)]
            with m.If(kept):
                m.d.sync += self.o.payload.eq(spare)
        with m.Elif(self.i.valid & ~kept):
            m.d.sync += [spare.eq(self.i.payload), kept.eq(1)]
        return m


def fork(m: Module, source: Any, takers: Sequence[tuple[ValueLike, Any]]) -> None:
    """Connects one stream to several: a payload goes to all `wanted` streams, in the same clock.

    Rules: `ready` of a taker must not depend on its `valid`, and stays while another taker is not ready; a
    `RegisterSlice` in front of a taker ensures the first. A taker whose `wanted` is 0 sees no payload.

    Args:
        takers: (wanted, stream) each; `wanted` stays while a payload waits. The payload of a taker may be assigned
            anew behind this call.
    """
    free = [stream.ready | ~_bit(wanted) for wanted, stream in takers]
    ready: Value = C(1, 1)
    for n, (wanted, taker) in enumerate(takers):
        valid = source.valid & _bit(wanted)
        for one in free[:n] + free[n + 1 :]:
            valid &= one
        ready &= free[n]
        m.d.comb += [taker.payload.eq(source.payload), taker.valid.eq(valid)]
    m.d.comb += source.ready.eq(ready)


def join(m: Module, sources: Sequence[Any], sink: Any) -> None:
    """Connects several streams to one: a transfer accepts a payload of each, in the same clock. The caller assigns
    `sink.payload`."""
    valid: Value = C(1, 1)
    for n, source in enumerate(sources):
        ready = sink.ready
        for other in (*sources[:n], *sources[n + 1 :]):
            ready &= other.valid
        valid &= source.valid
        m.d.comb += source.ready.eq(ready)
    m.d.comb += sink.valid.eq(valid)


def select(m: Module, platform: object, sources: Iterable[tuple[ValueLike, Any]], sink: Any) -> None:
    """Connects one of several streams, by a condition for each, to `sink`; the others wait. Without an owner no payload
    moves.

    Args:
        platform: that of `elaborate`; a simulation ends when two sources that own the sink have payloads.
        sources: (owner, stream) each; at most one owner at a time, steady while a payload waits.
    """
    offers: Value = C(0, 1)
    for owner, source in sources:
        with m.If(owner):
            m.d.comb += [
                sink.payload.eq(source.payload), sink.valid.eq(source.valid), source.ready.eq(sink.ready),
            ]
        offers += source.valid & _bit(owner)
    watch(m, platform, offers <= 1, "{} streams have the same taker", offers)


def route(m: Module, platform: object, source: Any, sinks: Iterable[tuple[ValueLike, Any]]) -> None:
    """Connects `source` to one of several streams, by a condition for each. Without an owner no payload moves.

    Args:
        platform: that of `elaborate`; a simulation ends when a payload has two owners.
        sinks: (owner, stream) each; at most one owner at a time, steady while a payload waits.
    """
    owners: Value = C(0, 1)
    for owner, sink in sinks:
        m.d.comb += [sink.payload.eq(source.payload), sink.valid.eq(source.valid & _bit(owner))]
        with m.If(owner):
            m.d.comb += source.ready.eq(sink.ready)
        owners += _bit(owner)
    watch(m, platform, ~source.valid | (owners <= 1), "{} takers have the same stream", owners)


def with_payload(source: Any, payload: Any) -> Any:
    """The handshake of a stream with another payload, such as a part of its own: for `select` and `route` where the
    shapes of the two ends differ."""
    other = stream.Signature(payload.shape()).create()
    other.payload, other.valid, other.ready = payload, source.valid, source.ready
    return other


def _bit(condition: ValueLike) -> Any:
    """A condition as a value of one bit."""
    return Value.cast(condition).bool()
