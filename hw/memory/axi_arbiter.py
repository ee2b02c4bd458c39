"""Arbiter of two masters on one AXI4 memory port."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.memory.axi import axi_signature
from hw.watch import watch

__all__ = ["AxiArbiter"]

IN_FLIGHT_BITS = 8

READ, WRITE = ("ar", "r"), ("aw", "w", "b")


class AxiArbiter(wiring.Component):
    """Gives a memory port to one of two masters at a time, separately for reads and for writes.

    Rules: the owner of the port changes only when no burst of the owner is in flight. Every answer therefore belongs to
    the owner, whatever its id, and beats of two masters never mix. If the other master requests the port, the owner may
    complete its bursts, but not start a new one; each master therefore gets at least one burst in turn. Data of a write
    may come before its address. The port returns to `i_0` when `i_1` is idle.

    Latency: none, all paths are combinational, so an idle master costs the other one no clock. Cost of a change of
    owner: the bursts in flight must end, then two clocks.

    Members:
        i_0, i_1: AXI4, the masters.
        o: AXI4, the memory.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "i_0": In(axi_signature(config)), "i_1": In(axi_signature(config)), "o": Out(axi_signature(config)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._read(m, platform)
        self._write(m, platform)
        return m

    def _join(self, m: Module, channels: tuple[str, ...], owner: Value, passes: dict[str, Value]) -> None:
        """Wires the owner's channels to the memory; handshakes of the master's channels only where they pass."""
        for n, port in enumerate((self.i_0, self.i_1)):
            for name, member in self.o.signature.members.items():
                channel = name[:2] if name[:2] in ("ar", "aw") else name[:1]
                if channel not in channels:
                    continue
                mine, theirs = getattr(self.o, name), getattr(port, name)
                passing = passes.get(channel, 1)
                if member.flow is Out:
                    with m.If(owner == n):
                        m.d.comb += mine.eq(theirs & passing if name.endswith("valid") else theirs)
                elif name.endswith(("valid", "ready")):
                    m.d.comb += theirs.eq(mine & passing & (owner == n))
                else:
                    m.d.comb += theirs.eq(mine)

    def _owner(self, m: Module, name: str, wants: tuple[Value, Value], rests: Value) -> tuple[Signal, Signal]:
        """The owner, and whether it has to stop. It changes if the other requests the port and nothing is under way."""
        owner, stop = Signal(name=f"{name}_owner"), Signal(name=f"{name}_stop")
        m.d.sync += stop.eq(Mux(owner, wants[0], wants[1]))
        with m.If(rests & (stop | owner & ~wants[1])):
            m.d.sync += [owner.eq(~owner), stop.eq(0)]
        return owner, stop

    def _read(self, m: Module, platform: object) -> None:
        o = self.o
        in_flight = Signal(IN_FLIGHT_BITS)
        offered, passes, rests = Signal(), Signal(), Signal()
        owner, stop = self._owner(m, "read", (self.i_0.arvalid, self.i_1.arvalid), rests)
        self._join(m, READ, owner, {"ar": passes})
        m.d.sync += [
            offered.eq(o.arvalid & ~o.arready),
            in_flight.eq(in_flight + (o.arvalid & o.arready) - (o.rvalid & o.rready & o.rlast)),
        ]
        m.d.comb += [passes.eq(~stop | offered), rests.eq((in_flight == 0) & ~o.arvalid)]
        watch(m, platform, ~in_flight.all(), "{} reads are in flight", in_flight)

    def _write(self, m: Module, platform: object) -> None:
        o = self.o
        in_flight = Signal(IN_FLIGHT_BITS)  # from the address to the response
        due = Signal(signed(IN_FLIGHT_BITS))  # addresses sent, less whole bursts of data sent
        inside = Signal()  # a burst of data has begun
        behind, ahead = Signal(), Signal()  # an address has to follow, data has to follow
        address_offered, data_offered = Signal(), Signal()
        passes_address, passes_data, rests = Signal(), Signal(), Signal()
        wants = tuple(port.awvalid | port.wvalid for port in (self.i_0, self.i_1))
        owner, stop = self._owner(m, "write", wants, rests)
        self._join(m, WRITE, owner, {"aw": passes_address, "w": passes_data})
        sent_address, sent_data, answered = Signal(), Signal(), Signal()
        m.d.comb += [
            sent_address.eq(o.awvalid & o.awready), sent_data.eq(o.wvalid & o.wready),
            answered.eq(o.bvalid & o.bready),
            behind.eq((due < 0) | (due == 0) & inside),
            ahead.eq((due > 0) | inside),
            passes_address.eq(~stop | address_offered | behind),
            passes_data.eq(~stop | data_offered | ahead),
            rests.eq((in_flight == 0) & (due == 0) & ~inside & ~o.awvalid & ~o.wvalid),
        ]
        m.d.sync += [
            address_offered.eq(o.awvalid & ~o.awready), data_offered.eq(o.wvalid & ~o.wready),
            due.eq(due + sent_address - (sent_data & o.wlast)),
            in_flight.eq(in_flight + sent_address - answered),
        ]
        with m.If(sent_data):
            m.d.sync += inside.eq(~o.wlast)
        watch(m, platform, ~in_flight.all(), "{} writes are in flight", in_flight)
