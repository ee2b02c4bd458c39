"""A unit that reads memories, with those memories: a bench fills them and then sees only streams and plain ports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from amaranth.hdl import Cat, Module, Shape
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from tests.hw.steps import Step

__all__ = ["WithMemories", "load", "load_layout"]


def _is_read_port(member: Any) -> bool:
    return member.is_signature and member.flow is Out and "en" in member.signature.members


def load_layout(read_port: wiring.Signature) -> data.StructLayout:
    """A word of the memory behind a read port, with its address; the names are those of the port's members."""
    return data.StructLayout({key: member.shape for key, member in read_port.members.items() if key != "en"})


class WithMemories(wiring.Component):
    """Puts a memory behind each read port of a unit; all its other ports are passed on.

    A read port has `en`, outputs that together are the address, and inputs that together are the word. For a read port
    `read` there are `load_read`, the address and the word by the same names, and `load_read_en`.
    """

    def __init__(self, unit: wiring.Component) -> None:
        self.unit, self.config = unit, getattr(unit, "config", None)
        members = unit.signature.members
        self.reads = [name for name, member in members.items() if _is_read_port(member)]
        ports = {name: member for name, member in members.items() if name not in self.reads}
        for name in self.reads:
            ports |= {f"load_{name}": In(load_layout(members[name].signature)), f"load_{name}_en": In(1)}
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.unit = unit = self.unit
        for name, member in unit.signature.members.items():
            if name in self.reads:
                self._add_memory(m, name, member.signature)
            elif member.is_signature:
                inner, outer = getattr(unit, name), getattr(self, name)
                assert "payload" in member.signature.members, f"{name}: neither a stream nor a read port"
                wiring.connect(m, *((wiring.flipped(outer), inner) if member.flow is In else
                                    (inner, wiring.flipped(outer))))
            elif member.flow is In:
                m.d.comb += getattr(unit, name).eq(getattr(self, name))
            else:
                m.d.comb += getattr(self, name).eq(getattr(unit, name))
        return m

    def _add_memory(self, m: Module, name: str, signature: wiring.Signature) -> None:
        port, load = getattr(self.unit, name), getattr(self, f"load_{name}")
        address = [key for key, member in signature.members.items() if member.flow is Out and key != "en"]
        word = [key for key, member in signature.members.items() if member.flow is In]
        bits = sum(Shape.cast(signature.members[key].shape).width for key in address)
        width = sum(Shape.cast(signature.members[key].shape).width for key in word)
        m.submodules[f"memory_{name}"] = store = memory.Memory(shape=width, depth=1 << bits, init=[])
        write, read = store.write_port(), store.read_port()
        m.d.comb += [
            write.en.eq(getattr(self, f"load_{name}_en")),
            write.addr.eq(Cat(load[key] for key in address)),
            write.data.eq(Cat(load[key] for key in word)),
            read.en.eq(port.en),
            read.addr.eq(Cat(getattr(port, key) for key in address)),
            Cat(getattr(port, key) for key in word).eq(read.data),
        ]


def load(name: str, words: Iterable[Mapping[str, Any]]) -> list[Step]:
    """Steps that write into the memory behind the read port `name`; each word has its address too."""
    return [*(Step(set={f"load_{name}": word, f"load_{name}_en": 1}) for word in words),
            Step(set={f"load_{name}_en": 0})]
