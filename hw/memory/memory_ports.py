"""The memory ports of the machine: streams of beats from all P ports, random reads of port 0, writes to each port."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import C, Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import STRIPE_BYTES, AccelConfig
from hw.contract.payloads import gather_request, stream_beat, write_beat, write_request
from hw.memory.axi import AxiError, axi_signature, page_window
from hw.memory.burst_master import QUEUED_COMMANDS
from hw.memory.port_offsets import port_offsets
from hw.memory.read_engine import ReadEngine, gather_beat, stream_command
from hw.memory.write_engine import WriteEngine
from hw.streams import Queue, fork, join, route, select
from hw.watch import watch

__all__ = ["MemoryPorts"]


class MemoryPorts(wiring.Component):
    """Combines a read engine and a write engine for each of `config.ports` ports.

        axi_0 <-> ReadEngine --+--> o_stream, a beat of every port
                       |       |
                       +-------|--+--> o_kv, a beat of every port
                       |       |  |
                       +-------|--|--> o_gather
        axi_1 <-> ReadEngine --+  |
                       |          |
                       +----------+
        ...
        axi_n <-> WriteEngine <---- request_n, data_n

    Rules: a stream command goes to all ports, and is accepted when all of them accept it. Each port reads `beats` beats
    of its own stripes: port n starts n * STRIPE_BYTES behind `address`, which is a multiple of STRIPE_BYTES if there is
    more than one port. A beat of the stream leaves when every port has its part; the FIFOs absorb differences between
    the ports.

    A kv request likewise goes to all ports and reads `beats` beats from each: on port n from `address` +
    n * `kv_port_stride` on. It uses the gather clients of the engines. On port 0 kv and gather requests take turns when
    both wait; a FIFO with a bit per request in flight tells whose beats come next. Gather and kv requests have at least
    one beat. Beats of one of them that are not taken delay those of the other.

    Latency, throughput and errors: as those of `ReadEngine` and `WriteEngine`. Requests of one client follow each other
    without a gap; a change of the client on port 0 costs a clock if the other one did not wait yet. The turn
    goes back to gather when no kv request waits, so the clocks of a run do not depend on the run before.

    Members:
        axi_<n>: AXI4 ports.
        stream: stream_command, beats of every port.
        o_stream: stream_beat.
        kv: gather_request, beats of every port.
        kv_port_stride: bytes from the address on a port to that on the next; steady from P clocks before a request.
        o_kv: stream_beat, in the order of the requests.
        gather, o_gather: random reads of port 0.
        request_<n>, data_<n>: writes of port n.
        write_idle: all write engines are idle.
        read_window, write_window: page_window, the addresses that bursts may have.
        abort: abort of all engines.
        idle: all engines are idle.
        read_error, write_error: AxiError, that of the lowest port that has one.
        error_port: the port of read_error; without one that of write_error; 0 if there is none.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        ports = range(config.ports)
        super().__init__({
            **{f"axi_{n}": Out(axi_signature(config)) for n in ports},
            "stream": In(stream.Signature(stream_command(config))),
            "o_stream": Out(stream.Signature(stream_beat(config))),
            "kv": In(stream.Signature(gather_request(config))),
            "kv_port_stride": In(config.address_bits),
            "o_kv": Out(stream.Signature(stream_beat(config))),
            "gather": In(stream.Signature(gather_request(config))),
            "o_gather": Out(stream.Signature(gather_beat(config))),
            **{f"request_{n}": In(stream.Signature(write_request(config))) for n in ports},
            **{f"data_{n}": In(stream.Signature(write_beat(config))) for n in ports},
            "write_idle": Out(1),
            "read_window": page_window(config),
            "write_window": page_window(config),
            "abort": In(1),
            "idle": Out(1),
            "read_error": Out(AxiError),
            "write_error": Out(AxiError),
            "error_port": Out(2),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        reads = [ReadEngine(self.config) for _ in range(self.config.ports)]
        writes = [WriteEngine(self.config) for _ in range(self.config.ports)]
        for n, (read, write) in enumerate(zip(reads, writes, strict=True)):
            m.submodules[f"read_{n}"], m.submodules[f"write_{n}"] = read, write
            port = getattr(self, f"axi_{n}")
            for engine, window in ((read, self.read_window), (write, self.write_window)):
                for name, member in engine.axi.signature.members.items():
                    mine, theirs = getattr(port, name), getattr(engine.axi, name)
                    m.d.comb += mine.eq(theirs) if member.flow is Out else theirs.eq(mine)
                m.d.comb += [engine.window.eq(window), engine.abort.eq(self.abort)]
            wiring.connect(m, wiring.flipped(getattr(self, f"request_{n}")), write.request)
            wiring.connect(m, wiring.flipped(getattr(self, f"data_{n}")), write.data)
        for engines, error in ((writes, self.write_error), (reads, self.read_error)):  # the last assignment counts
            for n, engine in reversed(list(enumerate(engines))):
                with m.If(engine.error != AxiError.NONE):
                    m.d.comb += [error.eq(engine.error), self.error_port.eq(n)]
        m.d.comb += [
            self.write_idle.eq(Cat(engine.idle for engine in writes).all()),
            self.idle.eq(self.write_idle & Cat(engine.idle for engine in reads).all()),
        ]

        fork(m, self.stream, [(C(1), engine.stream) for engine in reads])
        for n, engine in enumerate(reads):
            m.d.comb += engine.stream.payload.address.eq(self.stream.payload.address + n * STRIPE_BYTES)
        self._join(m, [(engine.o_stream, engine.o_stream.payload) for engine in reads], self.o_stream)
        self._gather(m, platform, reads)
        return m

    def _join(self, m: Module, sources: list[tuple[Any, Any]], sink: Any) -> None:
        """A beat of every port, as (stream, bytes) each, becomes one of `sink`."""
        size = self.config.beat_bytes
        join(m, [source for source, _ in sources], sink)
        for n, (_, lanes) in enumerate(sources):
            m.d.comb += [sink.payload[n * size + byte].eq(lanes[byte]) for byte in range(size)]

    def _gather(self, m: Module, platform: object, reads: list[ReadEngine]) -> None:
        """The gather clients of the engines: all of them read for `kv`, that of port 0 also for `gather`."""
        config = self.config
        first, *others = reads
        # Of the requests of port 0 every one whose burst is in flight or waits has its place.
        order = Queue(1, QUEUED_COMMANDS + config.outstanding + 2)
        m.submodules.order = ResetInserter(self.abort)(order)

        mine, turn = stream.Signature(gather_request(config)).create(), Signal()  # 1: a kv request is next
        fork(m, self.kv, [(C(1), taker) for taker in (mine, *(engine.gather for engine in others))])
        for engine, offset in zip(others, port_offsets(m, config, self.kv_port_stride)[1:], strict=True):
            m.d.comb += engine.gather.payload.address.eq(self.kv.payload.address + offset)

        chosen = stream.Signature(gather_request(config)).create()
        select(m, platform, [(~turn, self.gather), (turn, mine)], chosen)
        fork(m, chosen, [(C(1), first.gather), (C(1), order.i)])
        m.d.comb += order.i.payload.eq(turn)
        waits, others_wait = Mux(turn, self.kv.valid, self.gather.valid), Mux(turn, self.gather.valid, self.kv.valid)
        with m.If(others_wait & (~waits | (chosen.valid & chosen.ready))):
            m.d.sync += turn.eq(~turn)
        with m.Elif(turn & ~waits):  # nothing of a run is left for the next: its clocks depend on itself alone
            m.d.sync += turn.eq(0)
        with m.If(chosen.valid):
            watch(m, platform, chosen.payload.beats != 0, "a random read has {} beats", chosen.payload.beats)

        answers, part = first.o_gather, stream.Signature(gather_beat(config)).create()
        due = order.o.payload
        route(m, platform, answers, [(order.o.valid & ~due, self.o_gather), (order.o.valid & due, part)])
        m.d.comb += order.o.ready.eq(answers.valid & answers.ready & answers.payload.last)
        self._join(m, [(source, source.payload.data) for source in (part, *(e.o_gather for e in others))], self.o_kv)
