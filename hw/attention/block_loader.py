"""Fetches one KV block into block RAM, where every query head of its group reads it (docs/isa.md, "KV cache")."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.payloads import beat, gather_request
from hw.watch import watch, watch_stream

__all__ = ["BlockLoader", "block_beats", "block_read"]


def block_beats(config: AccelConfig) -> int:
    """Beats of the largest block."""
    return config.kv_block_bytes(config.max_head_dim) // config.beat_bytes


def block_read(config: AccelConfig) -> wiring.Signature:
    """A read port, seen from the reader: the beat at `addr` one clock after `en`; it holds while `en` is low."""
    return wiring.Signature({"en": Out(1), "addr": Out(range(block_beats(config))), "data": In(beat(config))})


class BlockLoader(wiring.Component):
    """One block of memory: a command fetches it, `done` says that it is here, then it is read at one beat per clock.

    Rules: reads while a fetch is under way return old or new beats. A command is taken when the fetch before is done.
    Beats after the last one asked for are not expected.

    Cost: the memory's latency and a clock per beat, and two clocks. Memory: `block_beats` words of a beat.

    Members:
        i_command: gather_request; address and beats of the block.
        o_gather: the request, to the read engine.
        i_gather: its beats, always taken.
        done: high for a clock when the last beat has been stored.
        read: block_read.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i_command": In(stream.Signature(gather_request(config))),
            "o_gather": Out(stream.Signature(gather_request(config))),
            "i_gather": In(stream.Signature(data.StructLayout({"data": beat(config), "last": 1}))),
            "done": Out(1),
            "read": In(block_read(config)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        watch_stream(m, platform, self.o_gather, "o_gather")
        m.submodules.block = block = memory.Memory(shape=beat(self.config), depth=block_beats(self.config), init=[])
        write, read = block.write_port(), block.read_port()
        place = Signal(range(block_beats(self.config)))
        m.d.comb += [
            read.en.eq(self.read.en), read.addr.eq(self.read.addr), self.read.data.eq(read.data),
            write.addr.eq(place), write.data.eq(self.i_gather.payload.data),
            self.o_gather.payload.eq(self.i_command.payload),
        ]
        m.d.sync += self.done.eq(0)
        with m.FSM():
            with m.State("COMMAND"):
                m.d.comb += [self.o_gather.valid.eq(self.i_command.valid), self.i_command.ready.eq(self.o_gather.ready)]
                m.d.sync += place.eq(0)
                with m.If(self.i_command.valid & self.o_gather.ready):
                    m.next = "BEATS"
            with m.State("BEATS"):
                m.d.comb += [self.i_gather.ready.eq(1), write.en.eq(self.i_gather.valid)]
                with m.If(self.i_gather.valid):
                    with m.If(place == block_beats(self.config) - 1):
                        watch(m, platform, self.i_gather.payload.last, "a block is longer than its memory")
                    m.d.sync += place.eq(place + 1)
                    with m.If(self.i_gather.payload.last):
                        m.d.sync += self.done.eq(1)
                        m.next = "COMMAND"
        return m
