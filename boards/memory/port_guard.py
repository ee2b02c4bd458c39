"""Access control of a memory: first its test uses it, then the accelerator. If the test fails, bursts get an error."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from boards.memory.port import memory_port
from hw.memory.axi import RESPONSE_SLVERR

__all__ = ["PortGuard"]


class PortGuard(wiring.Component):
    """Joins the port of the test to the memory at first, with `open` that of the user.

    Rules: `open` and `refuse` rise at most one of them and stay. Before, no burst of the user is taken. With `refuse`
    all of them are, one after the other, and answered with SLVERR; the memory is asked nothing, not
    even by the test.

    Latency: none.

    Members:
        user, test: two masters. memory: the memory's port. open, refuse: what the user gets.
    """

    def __init__(self, address_bits: int, data_bits: int) -> None:
        port = memory_port(address_bits, data_bits)
        self.port = port
        super().__init__({
            "user": In(port), "test": In(port), "memory": Out(port), "open": In(1), "refuse": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        user, test, memory = self.user, self.test, self.memory
        for name, member in self.port.members.items():
            mine, users, tests = (getattr(port, name) for port in (memory, user, test))
            if member.flow is Out:
                m.d.comb += mine.eq(Mux(self.open, users, tests))
            else:
                handshake = name.endswith(("valid", "ready"))
                m.d.comb += [tests.eq(mine & ~self.open if handshake else mine),
                             users.eq(mine & self.open if handshake else mine)]
        with m.If(self.refuse):
            self._refuse(m, user)
            m.d.comb += [getattr(memory, f"{channel}valid").eq(0) for channel in ("ar", "aw", "w")]
        return m

    def _refuse(self, m: Module, user: wiring.PureInterface) -> None:
        reading, left, read_id = Signal(), Signal(8), Signal(1)
        m.d.comb += [
            user.arready.eq(~reading), user.rvalid.eq(reading), user.rresp.eq(RESPONSE_SLVERR), user.rid.eq(read_id),
            user.rlast.eq(left == 0),
        ]
        with m.If(user.arvalid & user.arready):
            m.d.sync += [reading.eq(1), left.eq(user.arlen), read_id.eq(user.arid)]
        with m.Elif(user.rvalid & user.rready):
            m.d.sync += [left.eq(left - 1), reading.eq(~user.rlast)]

        writing, answering, write_id = Signal(), Signal(), Signal(1)
        m.d.comb += [
            user.awready.eq(~writing), user.wready.eq(writing & ~answering), user.bvalid.eq(answering),
            user.bresp.eq(RESPONSE_SLVERR), user.bid.eq(write_id),
        ]
        with m.If(user.awvalid & user.awready):
            m.d.sync += [writing.eq(1), write_id.eq(user.awid)]
        with m.If(user.wvalid & user.wready & user.wlast):
            m.d.sync += answering.eq(1)
        with m.If(user.bvalid & user.bready):
            m.d.sync += [answering.eq(0), writing.eq(0)]
