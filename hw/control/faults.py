"""The first fault of a run, stored until an abort, the reset that it causes (docs/faults.md), and the interrupt."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.contract.register_map import ErrorCode
from hw.memory.axi import AxiError

__all__ = ["Faults"]


class Faults(wiring.Component):
    """Stores the first error of a memory engine or of the packet stream until the host writes `abort`.

    Rules: `clear` holds all units behind the memory engines in reset, from the clock after an error and during an
    abort. An abort ends when the memory has answered all bursts; the engines keep their error until then.

    `irq` follows `done` one clock later, while it is enabled. It is a level, so that an interrupt controller that
    enables its input after the end of the run still sees it. The next start, an abort, or the enable bit ends it.

    Members:
        abort: from the registers.
        read_error, error_port, write_error, memory_idle: from the memory ports.
        stream_error: from the packet reader.
        run_busy, run_done, run_error: from the token loop.
        interrupt_enable: from the registers.
        clear: reset of the units.
        running: a run is in progress and has no fault.
        busy, done, error, port: for the registers.
        irq: the interrupt, a register.
    """

    def __init__(self) -> None:
        super().__init__({
            "abort": In(1),
            "read_error": In(AxiError), "error_port": In(2), "write_error": In(AxiError), "memory_idle": In(1),
            "stream_error": In(ErrorCode),
            "run_busy": In(1), "run_done": In(1), "run_error": In(ErrorCode),
            "interrupt_enable": In(1),
            "clear": Out(1), "running": Out(1),
            "busy": Out(1), "done": Out(1), "error": Out(ErrorCode), "port": Out(2), "irq": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fault, aborting = Signal(ErrorCode), Signal()
        faulty = fault != ErrorCode.NONE
        with m.If(~faulty & ~aborting):
            with m.If(self.read_error != AxiError.NONE):
                m.d.sync += [fault.eq(self.read_error.as_value()), self.port.eq(self.error_port)]
            with m.Elif(self.write_error != AxiError.NONE):
                m.d.sync += [fault.eq(Cat(self.write_error.as_value(), 1)), self.port.eq(self.error_port)]
            with m.Elif(self.stream_error != ErrorCode.NONE):
                m.d.sync += fault.eq(self.stream_error)
        with m.If(self.abort):
            m.d.sync += [fault.eq(ErrorCode.NONE), self.port.eq(0), aborting.eq(1)]
        with m.Elif(self.memory_idle):
            m.d.sync += aborting.eq(0)
        m.d.comb += [
            self.clear.eq(faulty | self.abort | aborting),
            self.running.eq(self.run_busy & ~faulty),
            self.busy.eq(self.running | aborting),
            self.done.eq(self.run_done | faulty),
            self.error.eq(Mux(faulty, fault.as_value(), self.run_error.as_value())),
        ]
        m.d.sync += self.irq.eq(self.done & self.interrupt_enable)
        return m
