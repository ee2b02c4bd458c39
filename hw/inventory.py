"""Memories and multiplications of the accelerator of a configuration, counted in its design.

The design is elaborated, which takes seconds; no tool is needed. Numbers of RAM primitives are estimates: the smallest
number whose shapes cover a memory, for each of its read ports, without what synthesis merges or maps to LUTs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from amaranth.hdl import Const, Fragment, Shape, Value
from amaranth.hdl._ast import Assign, Concat, Operator, Part, Slice, Statement, SwitchValue
from amaranth.hdl._ast import Switch as SwitchStatement
from amaranth.hdl._mem import MemoryInstance

from hw.accelerator import Accelerator
from hw.contract.config import AccelConfig, ceil_div
from hw.watch import UltraRamSynthesis

__all__ = ["LUT_DEPTH", "PRIMITIVES", "Inventory", "RamBlock", "inventory"]

LUT_DEPTH = 64
"""Words from which on a memory counts as block RAM. Yosys puts smaller ones into LUTs for an ECP5."""


@dataclass(frozen=True)
class RamBlock:
    """A memory of the design: its unit, the names of the submodules joined by dots, and its size.

    `ultra_ram`: it is marked for UltraRAM, where the FPGA has it.
    """

    unit: str
    width: int
    depth: int
    reads: int
    ultra_ram: bool

    @property
    def bits(self) -> int:
        """Words times width."""
        return self.width * self.depth

    def primitives(self, name: str) -> float:
        """Estimated number of primitives of that name, a key of PRIMITIVES."""
        size, shapes = PRIMITIVES[name]
        return self.reads * size * min(ceil_div(self.width, width) * ceil_div(self.depth, depth)
                                       for width, depth in shapes)


PRIMITIVES: Mapping[str, tuple[float, tuple[tuple[int, int], ...]]] = {
    "DP16KD": (1, ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))),
    "RAMB36": (0.5, ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))),
    "URAM288": (1, ((72, 4096),)),
}
"""RAM primitives of an ECP5 and of an UltraScale+: what the shapes take of one (a RAMB18 is half a RAMB36), and the
shapes, width by words, with a read and a write port."""


@dataclass(frozen=True)
class Inventory:
    """All memories, and the operand widths of all multiplications with their number.

    Multiplications by constants are left out. The smaller operand is first; synthesis decides which become DSP blocks.
    """

    memories: tuple[RamBlock, ...]
    multiplications: Mapping[tuple[int, int], int]

    @property
    def block_memories(self) -> tuple[RamBlock, ...]:
        """Memories of LUT_DEPTH words or more."""
        return tuple(one for one in self.memories if one.depth >= LUT_DEPTH)


def inventory(config: AccelConfig) -> Inventory:
    """Elaborate the accelerator and count."""
    memories: list[RamBlock] = []
    products: Counter[tuple[int, int]] = Counter()

    def visit(fragment: Fragment, path: tuple[str, ...]) -> None:
        if isinstance(fragment, MemoryInstance):
            content = fragment._data
            memories.append(RamBlock(".".join(path[:-1]), Shape.cast(content.shape).width, content.depth,
                                     len(fragment._read_ports), fragment._attrs.get("ram_style") == "ultra"))
        seen: set[int] = set()
        for statements in fragment.statements.values():
            for value in _values(statements):
                products.update(_products(value, seen))
        for number, (inside, name, _) in enumerate(fragment.subfragments):
            visit(inside, (*path, name or str(number)))

    visit(Fragment.get(Accelerator(config), UltraRamSynthesis()), ())
    return Inventory(tuple(memories), dict(sorted(products.items())))


def _values(statements: Iterable[Statement]) -> Iterator[Value]:
    """All values that statements use."""
    for statement in statements:
        if isinstance(statement, Assign):
            yield statement.lhs
            yield statement.rhs
        elif isinstance(statement, SwitchStatement):
            yield statement.test
            for _, inside, *_ in statement.cases:
                yield from _values(inside)


def _products(value: Value, seen: set[int]) -> Iterator[tuple[int, int]]:
    """Operand widths of the multiplications in an expression. A value object that is used several times counts once."""
    if id(value) in seen:
        return
    seen.add(id(value))
    inside: Iterable[Value] = ()
    if isinstance(value, Operator):
        inside = value.operands
        if value.operator == "*" and not any(isinstance(one, Const) for one in value.operands):
            low, high = sorted(len(one) for one in value.operands)
            yield low, high
    elif isinstance(value, Slice):
        inside = (value.value,)
    elif isinstance(value, Part):
        inside = (value.value, value.offset)
    elif isinstance(value, Concat):
        inside = value.parts
    elif isinstance(value, SwitchValue):
        inside = (value.test, *(one for _, one in value.cases))
    for one in inside:
        yield from _products(one, seen)
