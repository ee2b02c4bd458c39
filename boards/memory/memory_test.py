"""Start-up test of a memory through its AXI port: every address line and every byte mask, once."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from boards.memory.port import memory_port
from hw.memory.axi import BURST_INCR

__all__ = ["MemoryTest"]

TIMEOUT_CYCLES = 1 << 16
"""Time-out of the whole test, which takes about 2,500 clocks."""


class MemoryTest(wiring.Component):
    """Writes the words at 0 and at every power of two, then every second byte of them anew, and reads all of them.

    An address line without effect or joined to another makes two of the words one, a mask that is swapped or missing
    changes the wrong bytes. Words have numbers in them, so that none is right in the place of another.

    Rules: `start` begins and stays; `passed` or `failed` stay from the end on. A memory that does not answer has failed
    after TIMEOUT_CYCLES. What it leaves in the memory has no meaning.

    Members:
        memory: the port, one word at a time. start, passed, failed: how it goes.
    """

    def __init__(self, address_bits: int, data_bits: int) -> None:
        self.address_bits, self.data_bits = address_bits, data_bits
        super().__init__({
            "memory": Out(memory_port(address_bits, data_bits)),
            "start": In(1), "passed": Out(1), "failed": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        memory, word_bytes = self.memory, self.data_bits // 8
        address, again = Signal(self.address_bits), Signal()
        number = Signal(range(self.address_bits - exact_log2(word_bytes) + 1))  # of the word
        clocks, wrong, late = Signal(range(TIMEOUT_CYCLES)), Signal(), Signal()
        first = Cat(number, number, number)[:8].replicate(word_bytes) ^ sum(
            (37 * n + 11 & 0xFF) << 8 * n for n in range(word_bytes))
        every_second = sum(1 << n for n in range(0, word_bytes, 2))
        wanted = first ^ sum(0xFF << 8 * n for n in range(0, word_bytes, 2))
        for channel in ("ar", "aw"):
            m.d.comb += [
                getattr(memory, f"{channel}addr").eq(address),
                getattr(memory, f"{channel}size").eq(exact_log2(word_bytes)),
                getattr(memory, f"{channel}burst").eq(BURST_INCR),
            ]
        m.d.comb += [
            memory.wdata.eq(first ^ Mux(again, ~0, 0)), memory.wstrb.eq(Mux(again, every_second, ~0)),
            memory.wlast.eq(1), memory.bready.eq(1), memory.rready.eq(1),
        ]

        def go_on(here: str, behind: str) -> None:
            """Continue in state `here` with the next address; after the last, in state `behind` with the first."""
            m.d.sync += [address.eq(Mux(address == 0, word_bytes, address << 1)), number.eq(number + 1)]
            m.next = here
            with m.If(address[-1]):
                m.d.sync += [address.eq(0), number.eq(0)]
                m.next = behind

        with m.FSM():
            with m.State("REST"):
                with m.If(self.start):
                    m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += memory.awvalid.eq(1)
                with m.If(memory.awready):
                    m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += memory.wvalid.eq(1)
                with m.If(memory.wready):
                    m.next = "RESPONSE"
            with m.State("RESPONSE"):
                with m.If(memory.bvalid):
                    with m.If(address[-1]):
                        m.d.sync += again.eq(1)
                    with m.If(again):
                        go_on("WRITE", "READ")
                    with m.Else():
                        go_on("WRITE", "WRITE")
                    with m.If(memory.bresp != 0):
                        m.next = "FAILED"
            with m.State("READ"):
                m.d.comb += memory.arvalid.eq(1)
                with m.If(memory.arready):
                    m.next = "COMPARE"
            with m.State("COMPARE"):
                with m.If(memory.rvalid):
                    go_on("READ", "PASSED")
                    with m.If((memory.rdata != wanted) | (memory.rresp != 0)):
                        m.next = "FAILED"
            with m.State("PASSED"):
                m.d.comb += self.passed.eq(~late)
            with m.State("FAILED"):
                m.d.comb += wrong.eq(1)
        m.d.comb += [late.eq(clocks == TIMEOUT_CYCLES - 1), self.failed.eq(wrong | late)]
        with m.If(self.start & ~self.passed & ~self.failed):
            m.d.sync += clocks.eq(clocks + 1)
        return m
