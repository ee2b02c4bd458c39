"""Logic depth of a mapped netlist: the longest path between two registers of an UltraScale+ FPGA, in LUT levels.

A level is a LUT with the net behind it. Yosys does not place, so this is a count and no timing analysis: what a cell
costs beside a LUT is in LEVELS and the functions below, from the ratio of its delay to that of a LUT with its net. A
path that is too long here will miss the clock; a path that is short enough may still miss it because of its nets.

Why LIMIT levels at 250 MHz: of the 4 ns, clock-to-output of the first register, set-up of the last one and the
uncertainty of the clock take about 0.4 ns. A LUT (0.1 ns) with an average net (0.3 ns) takes about 0.4 ns in an
UltraScale+ of speed grade -2. So there is time for (4 - 0.4) / 0.4 = 9 levels. These delays are assumptions.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Depth", "LIMIT", "longest"]

LIMIT = 9.0
"""Levels for which 4 ns are enough."""

LEVELS = {"INV": 0.0, "MUXF7": 0.3, "MUXF8": 0.3, "MUXF9": 0.3} | {f"LUT{n}": 1.0 for n in range(1, 7)}
"""From every input to every output. An inverter is merged into the LUT behind it; a wide multiplexer has no net of its
own before it."""

CARRY = {("CI", "CO"): 0.05, ("CI", "O"): 0.5} | {
    (source, output): levels for source in ("S", "DI", "CYINIT") for output, levels in (("CO", 0.3), ("O", 0.5))}
"""CARRY8, and CARRY4, which Yosys takes for this family too: all bits of a cell have a path of their own to the next
cell; from O a net leads on."""

STARTS = {"RAMB": 2.5, "URAM": 3.5, "RAM": 1.3, "SRL": 1.3}
"""From the clock to the output of a memory without output register, beyond that of a flip-flop, by the beginning of its
name, the longer ones first. With an output register: 0."""

DSP_MULTIPLIES, DSP_ADDS, DSP_REGISTERED = 6.0, 3.0, 0.5
"""From an input to P through multiplier and adder; through the adder alone, also behind register M; out of register
P."""

Arc = tuple[str, float]


@dataclass(frozen=True)
class Depth:
    """The longest path: levels, and the cells on it, each with type and name."""

    levels: float
    cells: tuple[str, ...]


def _registered(cell: dict[str, Any], name: str) -> bool:
    """Whether a parameter of a DSP or memory says that there is a register."""
    value = cell["parameters"].get(name, "0")
    return int(value, 2) > 0 if set(value) <= {"0", "1"} and value else value == "TRUE"


def _dsp(cell: dict[str, Any], port: str) -> list[Arc]:
    """(output, levels) of an input of a DSP48E2; nothing where a register comes first."""
    if _registered(cell, "PREG"):
        return []
    register = {"A": "AREG", "B": "BREG", "C": "CREG", "D": "DREG"}.get(port)
    if register is None or _registered(cell, register):
        return [("P", 0.5), ("PCOUT", 0.5)] if port == "PCIN" else []
    if port == "C":
        return [("P", DSP_ADDS), ("PCOUT", DSP_ADDS)]
    return [] if _registered(cell, "MREG") else [("P", DSP_MULTIPLIES), ("PCOUT", DSP_MULTIPLIES)]


def _dsp_start(cell: dict[str, Any]) -> float:
    """Levels from the clock to P."""
    if _registered(cell, "PREG"):
        return DSP_REGISTERED
    if _registered(cell, "MREG"):
        return DSP_ADDS
    return DSP_MULTIPLIES if any(_registered(cell, name) for name in ("AREG", "BREG")) else 0.0


def _arcs(cell: dict[str, Any], port: str) -> list[Arc]:
    """(output, levels) of an input of a cell, where a combinational path leads through it."""
    kind, outputs = cell["type"], [p for p, way in cell["port_directions"].items() if way == "output"]
    if kind in LEVELS:
        return [(output, LEVELS[kind]) for output in outputs]
    if kind in ("CARRY4", "CARRY8"):
        return [(output, levels) for (source, output), levels in CARRY.items() if source == port]
    if kind == "DSP48E2":
        return _dsp(cell, port)
    if kind.startswith("RAMB") or not kind.startswith(("RAM", "SRL")):
        return []
    addresses = ("A", "DPRA", "ADDR")  # a LUT as memory is read without a clock
    return [(output, 1.0) for output in outputs] if port.startswith(addresses) else []


def _start(cell: dict[str, Any]) -> float:
    """Levels from the clock to the outputs of a cell that keeps something."""
    if cell["type"] == "DSP48E2":
        return _dsp_start(cell)
    if any(_registered(cell, name) for name in ("DOA_REG", "DOB_REG", "OREG_A", "OREG_B")):
        return 0.0
    return next((levels for beginning, levels in STARTS.items() if cell["type"].startswith(beginning)), 0.0)


def _bits(cell: dict[str, Any], way: str) -> Iterator[tuple[str, int]]:
    """Port and net of every bit of the inputs, or of the outputs."""
    for port, direction in cell["port_directions"].items():
        if direction == way:
            yield from ((port, bit) for bit in cell["connections"][port] if isinstance(bit, int))


class _Graph:
    """Nets as nodes, arcs through cells as edges."""

    def __init__(self, cells: dict[str, dict[str, Any]]) -> None:
        self.cells = cells
        self.edges: dict[int, list[tuple[int, float, str]]] = defaultdict(list)
        self.waits: dict[int, int] = defaultdict(int)
        self.arrival: dict[int, float] = {}
        self.before: dict[int, tuple[int | None, str]] = {}
        for name, cell in cells.items():
            if "port_directions" not in cell:
                raise ValueError(f"cell {name} of the netlist has type {cell['type']}, which is no cell of an FPGA")
            outputs = defaultdict(list)
            for port, bit in _bits(cell, "output"):
                outputs[port].append(bit)
                self.arrival[bit], self.before[bit] = _start(cell), (None, name)
            for port, bit in _bits(cell, "input"):
                for output, levels in _arcs(cell, port):
                    for target in outputs[output]:
                        self.edges[bit].append((target, levels, name))
                        self.waits[target] += 1

    def settle(self) -> None:
        """Arrival of every net. Raises ValueError for a combinational loop."""
        nets = {*self.edges, *self.arrival}
        free = [net for net in nets if not self.waits[net]]
        done = 0
        while free:
            net = free.pop()
            done += 1
            for target, levels, name in self.edges.get(net, ()):
                arrival = self.arrival.get(net, 0.0) + levels
                if arrival > self.arrival.get(target, 0.0):
                    self.arrival[target], self.before[target] = arrival, (net, name)
                self.waits[target] -= 1
                if not self.waits[target]:
                    free.append(target)
        if done < len(nets):
            raise ValueError("the netlist has a combinational loop: see the log of Yosys")


def longest(file: Path) -> Depth:
    """The longest path of a flat netlist that `write_json` of Yosys wrote. Raises ValueError for a loop."""
    modules = json.loads(file.read_text())["modules"]
    (cells,) = (module["cells"] for module in modules.values() if int(module["attributes"].get("top", "0"), 2))
    graph = _Graph(cells)
    graph.settle()
    net: int | None = max(graph.arrival, key=lambda bit: graph.arrival[bit])
    levels, path = graph.arrival[net], list[str]()
    while net is not None and net in graph.before:
        net, name = graph.before[net]
        path.append(name)
    return Depth(round(levels, 2), tuple(f"{cells[name]['type']} {name}" for name in reversed(path)))
