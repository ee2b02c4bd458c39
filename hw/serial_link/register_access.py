"""AXI4-Lite master for one access at a time, with a time-out."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.serial_link_protocol import LinkStatus
from hw.control.registers import axi_lite_signature

__all__ = ["RegisterAccess"]


class RegisterAccess(wiring.Component):
    """Reads or writes a 32-bit register.

    Rules: `start` begins an access, which has ended when `busy` is 0 again. If the slave does not answer within
    `config.timeout_cycles`, the access ends with REGISTER_TIMEOUT; all later accesses end like that until the slave
    answers.

    Latency: 3 clocks more than that of the slave.

    Members:
        axi: AXI4-Lite.
        start, write, address, value: the access.
        busy: an access is under way.
        result: the value that was read.
        status: OK, REGISTER_ERROR (a response other than OKAY), or REGISTER_TIMEOUT.
    """

    def __init__(self, config: AccelConfig, address_bits: int) -> None:
        self.config = config
        super().__init__({
            "axi": Out(axi_lite_signature(address_bits)),
            "start": In(1), "write": In(1), "address": In(address_bits), "value": In(32),
            "busy": Out(1), "result": Out(32), "status": Out(LinkStatus),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi = self.axi
        waits = Signal()  # for the response
        timer = Signal(range(self.config.timeout_cycles + 1))
        m.d.comb += [
            axi.wstrb.eq(0b1111), axi.bready.eq(1), axi.rready.eq(1), axi.awprot.eq(0), axi.arprot.eq(0),
        ]
        for channel in ("aw", "w", "ar"):
            with m.If(getattr(axi, f"{channel}ready")):
                m.d.sync += getattr(axi, f"{channel}valid").eq(0)
        with m.If(waits & (axi.bvalid | axi.rvalid)):
            response = Signal(2)
            m.d.comb += response.eq(axi.rresp)
            with m.If(axi.bvalid):
                m.d.comb += response.eq(axi.bresp)
            m.d.sync += [waits.eq(0), self.busy.eq(0), self.result.eq(axi.rdata)]
            with m.If(self.busy):
                m.d.sync += self.status.eq(LinkStatus.OK)
                with m.If(response != 0):
                    m.d.sync += self.status.eq(LinkStatus.REGISTER_ERROR)
        with m.Elif(self.busy):
            m.d.sync += timer.eq(timer - 1)
            with m.If(timer == 0):
                m.d.sync += [self.busy.eq(0), self.status.eq(LinkStatus.REGISTER_TIMEOUT)]
        with m.Elif(self.start):
            with m.If(waits):
                m.d.sync += self.status.eq(LinkStatus.REGISTER_TIMEOUT)
            with m.Else():
                m.d.sync += [
                    waits.eq(1), self.busy.eq(1), timer.eq(self.config.timeout_cycles),
                    axi.awaddr.eq(self.address), axi.araddr.eq(self.address), axi.wdata.eq(self.value),
                    axi.awvalid.eq(self.write), axi.wvalid.eq(self.write), axi.arvalid.eq(~self.write),
                ]
        return m
