"""What the AXI4 masters share: queue of commands, burst splitter, first error, time-out and abort."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, ResetInserter, Signal, Value

from hw.bound import bounded
from hw.contract.config import AccelConfig
from hw.memory.axi import AxiError, burst_request
from hw.memory.burst_splitter import BurstSplitter
from hw.streams import Queue, route
from hw.watch import watch

__all__ = ["QUEUED_COMMANDS", "BurstMaster", "response_error"]

QUEUED_COMMANDS = 4
"""Commands that wait in front of a splitter."""


class BurstMaster:
    """Adds the logic that `ReadEngine` and `WriteEngine` share to the module of the engine.

    Rules: call `end` after all other assignments to `error`: of the errors of one clock the last one counts.

    Attributes:
        flush: an abort is under way; commands are cleared, and none is accepted.
        failed: an error waits for an abort.
        in_flight: bursts that were issued and have not ended; the engine counts them.
        reset: puts a part into reset during `flush`.
    """

    def __init__(self, m: Module, platform: object, config: AccelConfig, engine: Any) -> None:
        self.m, self.platform, self.config, self.engine = m, platform, config, engine
        self.draining, self.flush, self.failed = Signal(name="draining"), Signal(name="flush"), Signal(name="failed")
        self.in_flight = Signal(range(config.outstanding + 1), name="in_flight")
        self.reset = ResetInserter(self.flush)
        m.d.comb += [self.flush.eq(engine.abort | self.draining), self.failed.eq(engine.error != AxiError.NONE)]
        watch(m, platform, self.in_flight <= config.outstanding, "{} bursts are in flight", self.in_flight)

    def bursts(
        self, commands: Any, *, name: str, beat_bits: int, limit: int, stripes: int = 1
    ) -> tuple[BurstSplitter, Value]:
        """Add a queue of commands and a splitter; return the splitter and whether one of them is busy.

        A burst outside of the window is an error. Latency: 3 clocks from a command to its first burst."""
        m = self.m
        queue = Queue(burst_request(self.config, beat_bits), QUEUED_COMMANDS)
        splitter = BurstSplitter(self.config, beat_bits=beat_bits, limit=limit, stripes=stripes)
        m.submodules[f"{name}_queue"] = self.reset(queue)
        m.submodules[f"{name}_splitter"] = self.reset(splitter)
        route(m, self.platform, commands, [(~self.flush, queue.i)])
        m.d.comb += [
            splitter.window.eq(self.engine.window),
            splitter.i.payload.eq(queue.o.payload),
            splitter.i.valid.eq(queue.o.valid),
            queue.o.ready.eq(splitter.i.ready),
        ]
        self.fail(splitter.o.valid & ~splitter.o.payload.inside, AxiError.RANGE)
        return splitter, queue.o.valid | splitter.busy

    def fail(self, condition: Value, reason: Any) -> None:
        """Store `reason` as the error at `condition`, if it is the first error."""
        with self.m.If(condition & ~self.flush & ~self.failed):
            self.m.d.sync += self.engine.error.eq(reason)

    def end(self, *, pending: Value, progress: Value, rests: Value) -> None:
        """Time-out and end of an abort.

        Args:
            pending: a handshake or an answer of the port is outstanding.
            progress: the port makes a handshake.
            rests: nothing is under way, apart from `in_flight`.
        """
        m, error, limit = self.m, self.engine.error, self.config.timeout_cycles
        timer = Signal(range(limit + 1), name="timer")
        bounded(self.platform, timer, "clocks without an answer", "timeout_cycles", limit)
        with m.If(~pending | progress):
            m.d.sync += timer.eq(0)
        with m.Elif(timer != limit):
            m.d.sync += timer.eq(timer + 1)
        with m.Elif(~self.failed | self.draining):
            m.d.sync += error.eq(AxiError.TIMEOUT)

        with m.If(self.engine.abort):
            m.d.sync += self.draining.eq(1)
        with m.Elif(self.draining & (self.in_flight == 0) & rests):
            m.d.sync += [self.draining.eq(0), error.eq(AxiError.NONE)]


def response_error(response: Value) -> Value:
    """The error that a RRESP or BRESP with bit 1 stands for."""
    return Mux(response[0], AxiError.DECODE, AxiError.SLAVE)
