"""AXI4-Lite slave in front of the registers of `register_map`. This file holds their bits and the bus protocol."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.register_map import ADDRESS_BITS, ID_MAGIC, ID_VERSION, REGISTERS, Register, ports
from hw.memory.axi import RESPONSE_OKAY, RESPONSE_SLVERR

__all__ = ["RegisterFile", "axi_lite_signature"]


def axi_lite_signature(address_bits: int) -> wiring.Signature:
    """All five channels of an AXI4-Lite master with 32-bit data."""
    return wiring.Signature({
        "awaddr": Out(address_bits), "awprot": Out(3), "awvalid": Out(1), "awready": In(1),
        "wdata": Out(32), "wstrb": Out(4), "wvalid": Out(1), "wready": In(1),
        "bresp": In(2), "bvalid": In(1), "bready": Out(1),
        "araddr": Out(address_bits), "arprot": Out(3), "arvalid": Out(1), "arready": In(1),
        "rdata": In(32), "rresp": In(2), "rvalid": In(1), "rready": Out(1),
    })


class RegisterFile(wiring.Component):
    """Registers of the accelerator.

    Write address and write data may come in either order; each is kept until the other is there. Once both are kept,
    the new value and the response appear in the next clock, or after the response before was taken. Read data comes a
    clock after its address. No output of the bus depends combinationally on an input. The lowest two address bits are
    ignored.

    Reading the lower half of a 64-bit `r` value keeps its upper half for the next read of that.

    Members:
        axi: the bus.
        One output for each `rw` value (`image_base`, `slot`, ...; 64 bits for a pair of registers).
        One output for each bit of a `pulse` register (`start`, `abort`): 1 for the clock after a 1 was written.
        One input for each `r` value (`busy`, `error`, `cycles`, ...). Names and widths: `register_map.ports`.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__(
            {"axi": In(axi_lite_signature(ADDRESS_BITS))}
            | {name: Out(bits) for access in ("rw", "pulse") for name, bits in ports(access).items()}
            | {name: In(bits) for name, bits in ports("r").items()}
        )
        build_id = config.build_id
        self._constants = {
            ("ID", "version"): ID_VERSION,
            ("ID", "magic"): ID_MAGIC,
            ("BUILD_ID_LO", "value"): build_id & 0xFFFFFFFF,
            ("BUILD_ID_HI", "value"): build_id >> 32,
        }
        self._held = {
            field.port: Signal(field.bits, name=f"{field.port}_held")
            for register in REGISTERS if register.access == "r"
            for field in register.fields if field.port_low
        }

    def _read(self, m: Module, register: Register, data: Signal) -> None:
        """Put the value of a register on `data`."""
        for field in register.fields:
            here = data[field.low : field.low + field.bits]
            if not field.port:
                m.d.sync += here.eq(Const(self._constants[register.name, field.name], field.bits))
            elif register.access == "r" and field.port_low:
                m.d.sync += here.eq(self._held[field.port])
            elif register.access != "pulse":
                value = getattr(self, field.port)
                m.d.sync += here.eq(value[field.port_low : field.port_low + field.bits])
                if field.port in self._held:
                    m.d.sync += self._held[field.port].eq(value[field.bits :])

    def _write(self, m: Module, register: Register, data: Signal, strobe: Signal) -> None:
        """Take the bytes that are strobed."""
        enable = Cat(strobe[n // 8] for n in range(32))
        for field in register.fields:
            port = getattr(self, field.port)[field.port_low : field.port_low + field.bits]
            mask, new = (s[field.low : field.low + field.bits] for s in (enable, data))
            kept = 0 if register.access == "pulse" else port & ~mask
            m.d.sync += port.eq(new & mask | kept)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi = self.axi

        address, data, strobe = Signal(ADDRESS_BITS - 2), Signal(32), Signal(4)
        has_address, has_data = Signal(), Signal()
        m.d.comb += [axi.awready.eq(~has_address), axi.wready.eq(~has_data)]
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += [has_address.eq(1), address.eq(axi.awaddr[2:])]
        with m.If(axi.wvalid & axi.wready):
            m.d.sync += [has_data.eq(1), data.eq(axi.wdata), strobe.eq(axi.wstrb)]

        m.d.sync += [getattr(self, name).eq(0) for name in ports("pulse")]
        with m.If(axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        with m.If(has_address & has_data & ~axi.bvalid):
            m.d.sync += [has_address.eq(0), has_data.eq(0), axi.bvalid.eq(1), axi.bresp.eq(RESPONSE_OKAY)]
            with m.Switch(address):
                for register in REGISTERS:
                    if register.access != "r":
                        with m.Case(register.address // 4):
                            self._write(m, register, data, strobe)
                with m.Default():
                    m.d.sync += axi.bresp.eq(RESPONSE_SLVERR)

        m.d.comb += axi.arready.eq(~axi.rvalid)
        with m.If(axi.rready):
            m.d.sync += axi.rvalid.eq(0)
        with m.If(axi.arvalid & axi.arready):
            m.d.sync += [axi.rvalid.eq(1), axi.rdata.eq(0), axi.rresp.eq(RESPONSE_OKAY)]
            with m.Switch(axi.araddr[2:]):
                for register in REGISTERS:
                    with m.Case(register.address // 4):
                        self._read(m, register, axi.rdata)
                with m.Default():
                    m.d.sync += axi.rresp.eq(RESPONSE_SLVERR)
        return m
