"""The memory ports of the machine: one packet stream from P ports, random reads and writes on port 0."""

from __future__ import annotations

from amaranth.hdl import C, Cat, Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import STRIPE_BYTES, AccelConfig
from hw.contract.payloads import gather_request, stream_beat, write_beat, write_request
from hw.memory.axi import AxiError, axi_read_signature, axi_signature, page_window
from hw.memory.read_engine import ReadEngine, gather_beat, stream_command
from hw.memory.write_engine import WriteEngine
from hw.streams import fork, join

__all__ = ["MemoryPorts"]


class MemoryPorts(wiring.Component):
    """Combines `config.ports` read engines and a write engine.

        axi_0 <-> ReadEngine --+--> o_stream, a beat of every port
                       |       |
                       +-------|--> o_gather
        axi_1 <-> ReadEngine --+
        ...
        axi_0 <-> WriteEngine <---- request, data

    Rules: a stream command goes to all ports, and is accepted when all of them accept it. Each port reads `beats` beats
    of its own stripes: port n starts n * STRIPE_BYTES behind `address`, which is a multiple of STRIPE_BYTES if there is
    more than one port. A beat of the stream leaves when every port has its part; the FIFOs absorb differences between
    the ports.

    Latency, throughput and errors: as those of `ReadEngine` and `WriteEngine`.

    Members:
        axi_<n>: AXI4 ports; only axi_0 has write channels.
        stream: stream_command, beats of every port.
        o_stream: stream_beat.
        gather, o_gather: random reads of port 0.
        request, data, write_idle: writes of port 0.
        read_window, write_window: page_window, the addresses that bursts may have.
        abort: abort of all engines.
        idle: all engines are idle.
        read_error, write_error: AxiError; the read error is that of the lowest port that has one.
        error_port: the port of read_error, 0 if there is none.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            **{f"axi_{n}": Out(self.port_signature(config, n)) for n in range(config.ports)},
            "stream": In(stream.Signature(stream_command(config))),
            "o_stream": Out(stream.Signature(stream_beat(config))),
            "gather": In(stream.Signature(gather_request(config))),
            "o_gather": Out(stream.Signature(gather_beat(config))),
            "request": In(stream.Signature(write_request(config))),
            "data": In(stream.Signature(write_beat(config))),
            "write_idle": Out(1),
            "read_window": page_window(config),
            "write_window": page_window(config),
            "abort": In(1),
            "idle": Out(1),
            "read_error": Out(AxiError),
            "write_error": Out(AxiError),
            "error_port": Out(2),
        })

    @staticmethod
    def port_signature(config: AccelConfig, number: int) -> wiring.Signature:
        """The channels of port `number`."""
        return axi_read_signature(config) if number else axi_signature(config)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        engines = [ReadEngine(config, gathers=n == 0) for n in range(config.ports)]
        m.submodules.write = write = WriteEngine(config)
        ports = [getattr(self, f"axi_{n}") for n in range(config.ports)]
        for port, engine in ((ports[0], write), *zip(ports, engines, strict=True)):
            for name, member in engine.axi.signature.members.items():
                mine, theirs = getattr(port, name), getattr(engine.axi, name)
                m.d.comb += mine.eq(theirs) if member.flow is Out else theirs.eq(mine)

        fork(m, self.stream, [(C(1), engine.stream) for engine in engines])
        join(m, [engine.o_stream for engine in engines], self.o_stream)
        for n, engine in enumerate(engines):
            m.submodules[f"read_{n}"] = engine
            size = config.beat_bytes
            m.d.comb += [
                engine.stream.payload.address.eq(self.stream.payload.address + n * STRIPE_BYTES),
                *(self.o_stream.payload[n * size + byte].eq(engine.o_stream.payload[byte]) for byte in range(size)),
                engine.window.eq(self.read_window),
                engine.abort.eq(self.abort),
            ]
        for n, engine in reversed(list(enumerate(engines))):
            with m.If(engine.error != AxiError.NONE):
                m.d.comb += [self.read_error.eq(engine.error), self.error_port.eq(n)]

        wiring.connect(m, wiring.flipped(self.gather), engines[0].gather)
        wiring.connect(m, engines[0].o_gather, wiring.flipped(self.o_gather))
        wiring.connect(m, wiring.flipped(self.request), write.request)
        wiring.connect(m, wiring.flipped(self.data), write.data)
        m.d.comb += [
            self.write_idle.eq(write.idle),
            self.write_error.eq(write.error),
            write.window.eq(self.write_window),
            write.abort.eq(self.abort),
            self.idle.eq(write.idle & Cat(engine.idle for engine in engines).all()),
        ]
        return m
