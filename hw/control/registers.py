"""AXI4-Lite slave with the registers of `register_map`: their bits and the bus protocol."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.contract.register_map import (
    ADDRESS_BITS,
    CONSTANTS,
    COUNTER_BITS,
    COUNTERS,
    ID_MAGIC,
    ID_VERSION,
    REGISTERS,
    Register,
    values,
)
from hw.memory.axi import RESPONSE_OKAY, RESPONSE_SLVERR

__all__ = ["RegisterFile", "axi_lite_signature", "counters_signature", "job_signature", "status_signature"]


def axi_lite_signature(address_bits: int) -> wiring.Signature:
    """All five channels of an AXI4-Lite master with 32-bit data."""
    return wiring.Signature({
        "awaddr": Out(address_bits), "awprot": Out(3), "awvalid": Out(1), "awready": In(1),
        "wdata": Out(32), "wstrb": Out(4), "wvalid": Out(1), "wready": In(1),
        "bresp": In(2), "bvalid": In(1), "bready": Out(1),
        "araddr": Out(address_bits), "arprot": Out(3), "arvalid": Out(1), "arready": In(1),
        "rdata": In(32), "rresp": In(2), "rvalid": In(1), "rready": Out(1),
    })


def job_signature(config: AccelConfig) -> wiring.Signature:
    """Every `rw` value, from the register file to the units that execute a run: `image_base`, `slot`, ..."""
    return wiring.Signature({name: Out(bits) for name, bits in values("rw", config).items()})


def status_signature(config: AccelConfig) -> wiring.Signature:
    """Every `r` value but the counters, from the machine to the register file: `busy`, `error`, ..."""
    return wiring.Signature({name: Out(bits) for name, bits in values("r", config).items() if name not in COUNTERS})


def counters_signature() -> wiring.Signature:
    """The counters, to the register file."""
    return wiring.Signature({name: Out(COUNTER_BITS) for name in COUNTERS})


class RegisterFile(wiring.Component):
    """Stores the registers that the host writes, and shows those that it reads.

    A read of the register in front of a `held` one stores the value of the latter for the next read. The two are read
    one after the other, so one store of 32 flip-flops is enough for all of them.

    Rules: write address and write data may come in either order; each is stored until the other has come. No output of
    the bus depends combinationally on an input. The lowest two address bits are ignored.

    Latency: a write takes effect, and its response is valid, one clock after address and data are stored, or after the
    response before was accepted. Read data is valid one clock after its address.

    Members:
        axi: the bus.
        job: the `rw` values.
        start, abort: 1 for the clock after a 1 was written to that bit of CONTROL.
        status, counters: the `r` values.
    """

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        super().__init__({
            "axi": In(axi_lite_signature(ADDRESS_BITS)),
            "job": Out(job_signature(config)),
            "status": In(status_signature(config)),
            "counters": In(counters_signature()),
            **{name: Out(bits) for name, bits in values("pulse").items()},
        })
        constants = dict(zip(CONSTANTS, (ID_VERSION, ID_MAGIC, config.build_id), strict=True))
        self._values: dict[str, Value] = {
            **{name: Const(value, 64) for name, value in constants.items()},
            **{name: getattr(self.job, name) for name in values("rw", config)},
            **{name: getattr(self, name) for name in values("pulse")},
            **{name: getattr(self.counters if name in COUNTERS else self.status, name) for name in values("r", config)},
        }
        self._held = Signal(32, name="held")
        self._registers = [register for register in REGISTERS if register.there(config)]
        self._keeps = {register.address - 4: register for register in self._registers if register.held}

    def _word(self, register: Register):
        """What a register that is not held reads."""
        parts: list[Value] = []
        for field in () if register.access == "pulse" else register.fields:  # in ascending order
            parts += [Const(0, field.low - sum(map(len, parts))),
                      self._values[field.value][field.value_low : field.value_low + field.bits]]
        return Cat(*parts)

    def _read(self, m: Module, register: Register, data: Signal) -> None:
        """Put the value of a register on `data`."""
        m.d.sync += data.eq(self._held if register.held else self._word(register))
        if register.address in self._keeps:
            m.d.sync += self._held.eq(self._word(self._keeps[register.address]))

    def _write(self, m: Module, register: Register, data: Signal, strobe: Signal) -> None:
        """Take the bytes that are strobed."""
        enable = Cat(strobe[n // 8] for n in range(32))
        for field in register.fields:
            value = self._values[field.value][field.value_low : field.value_low + field.bits]
            mask, new = (s[field.low : field.low + field.bits] for s in (enable, data))
            kept = 0 if register.access == "pulse" else value & ~mask
            m.d.sync += value.eq(new & mask | kept)

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

        m.d.sync += [getattr(self, name).eq(0) for name in values("pulse")]
        with m.If(axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        with m.If(has_address & has_data & ~axi.bvalid):
            m.d.sync += [has_address.eq(0), has_data.eq(0), axi.bvalid.eq(1), axi.bresp.eq(RESPONSE_OKAY)]
            with m.Switch(address):
                for register in self._registers:
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
                for register in self._registers:
                    with m.Case(register.address // 4):
                        self._read(m, register, axi.rdata)
                with m.Default():
                    m.d.sync += axi.rresp.eq(RESPONSE_SLVERR)
        return m
