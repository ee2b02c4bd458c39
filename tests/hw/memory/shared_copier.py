"""Two copying machines on one memory port."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig
from hw.memory.axi import AxiError, axi_signature
from hw.memory.axi_arbiter import AxiArbiter
from tests.sim.memory.copier import Copier

__all__ = ["SharedCopier"]

PREFIXES = ("", "other_")


class SharedCopier(wiring.Component):
    """Members: those of `Copier`, and once more as `other_<name>` for the second machine."""

    def __init__(self, config: AccelConfig) -> None:
        self.config = config
        plain = {
            "start": In(1), "source": In(config.address_bits), "destination": In(config.address_bits), "chunks": In(32),
            "strobe": In(config.beat_bytes), "done": Out(1), "clocks": Out(64), "read_error": Out(AxiError),
            "write_error": Out(AxiError),
        }
        super().__init__({
            "m_axi_0": Out(axi_signature(config)),
            **{f"{prefix}{name}": member for prefix in PREFIXES for name, member in plain.items()},
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.arbiter = arbiter = AxiArbiter(self.config)
        wiring.connect(m, arbiter.o, wiring.flipped(self.m_axi_0))
        for n, prefix in enumerate(PREFIXES):
            m.submodules[f"machine_{n}"] = machine = Copier(self.config)
            wiring.connect(m, machine.m_axi_0, (arbiter.i_0, arbiter.i_1)[n])
            for name, member in machine.signature.members.items():
                if member.is_port:
                    mine, theirs = getattr(self, f"{prefix}{name}"), getattr(machine, name)
                    m.d.comb += mine.eq(theirs) if member.flow is Out else theirs.eq(mine)
        return m
