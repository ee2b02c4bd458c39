"""Resources of generated Verilog on an UltraScale+: `python -m boards.resources FILE.v [--top NAME] [--no-dsp]`.

Yosys maps every module once, with the hierarchy kept; a table per unit adds up how often each is used. Modules whose
text differs only in names are mapped once as well (a systolic array repeats itself), which changes no number and
saves most of the time. These are estimates before placement; Vivado's report is the measurement.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from hw.extras import as_program
from hw.yosys import HIDE_ELEMENTS, run_yosys

__all__ = ["KINDS", "ULTRASCALE", "numbers", "read_netlist", "resources", "share_modules", "table", "usage"]

KINDS: Mapping[str, Mapping[str, float]] = {
    "LUT": {f"LUT{n}": 1 for n in range(1, 7)} | {
        "INV": 1, "SRL16E": 1, "SRLC32E": 1, "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM32M": 4, "RAM64M": 4,
        "RAM32M16": 8, "RAM64M8": 8, "RAM32X1S": 1, "RAM64X1S": 1,
    },
    "FF": dict.fromkeys(("FDRE", "FDSE", "FDCE", "FDPE"), 1),
    "RAMB36": {"RAMB36E2": 1, "RAMB18E2": 0.5},
    "URAM": {"URAM288": 1},
    "DSP": {"DSP48E2": 1},
}
"""Cells of each resource and how much of it one takes. LUTs include those used as memory; an inverter counts as one."""

ULTRASCALE = "synth_xilinx -family xcup"
"""Command of Yosys."""

_MODULE = re.compile(r"^module (\S+?) ?\(.*?^endmodule$", re.MULTILINE | re.DOTALL)
_INSTANCE = re.compile(r"^  (\\\S+) +\S+ +\($", re.MULTILINE)

Netlist = dict[str, Counter[str]]


def share_modules(text: str) -> str:
    """The Verilog with modules that differ only in their names merged into one."""
    bodies = {match[1]: match[0] for match in _MODULE.finditer(text)}
    kept: dict[str, str] = {}
    first: dict[str, str] = {}

    def share(name: str) -> str:
        """The module that stands for this one."""
        if name not in first:
            body = _INSTANCE.sub(lambda m: m[0].replace(m[1], share(m[1]), 1) if m[1] in bodies else m[0], bodies[name])
            key = body.replace(f"module {name} ", "module ", 1)
            first[name] = kept.setdefault(key, name)
            if first[name] == name:
                bodies[name] = body
        return first[name]

    used = {share(name) for name in list(bodies)}
    return "\n\n".join(body for name, body in bodies.items() if name in used) + "\n"


def resources(file: Path, top: str, folder: Path, synth: str = ULTRASCALE) -> Netlist:
    """Cells of each module by type, submodules among them, as the command `synth` maps them; files go to `folder`.

    Raises ToolError where Yosys is missing or fails; its log is in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "shared.v").write_text(share_modules(file.read_text()))
    script = (
        f"read_verilog shared.v; hierarchy -top {top}; proc; opt_clean -purge; {HIDE_ELEMENTS}; "
        "tee -q -o before.json stat -json; "
        f"{synth} -top {top}; tee -q -o cells.json stat -json"
    )
    run_yosys(script, folder, folder / "log")
    return read_netlist(folder / "cells.json")


def read_netlist(file: Path) -> Netlist:
    """What `stat -json` of Yosys wrote; `before.json` in the folder of `resources` is of the design before mapping."""
    modules = json.loads(file.read_text())["modules"]
    return {name.removeprefix("\\"): Counter(module["num_cells_by_type"]) for name, module in modules.items()}


def usage(netlist: Netlist, module: str, kinds: Mapping[str, Mapping[str, float]] = KINDS) -> dict[str, float]:
    """Resources of a module with all that is below it, by the names of the kinds."""
    found = dict.fromkeys(kinds, 0.0)
    for cell, count in netlist[module].items():
        if cell in netlist:
            for kind, amount in usage(netlist, cell, kinds).items():
                found[kind] += count * amount
        for kind, cells in kinds.items():
            found[kind] += count * cells.get(cell, 0)
    return found


def numbers(used: Mapping[str, float]) -> str:
    """The amounts as cells of a Markdown table."""
    return " | ".join(f"{value:,.1f}".removesuffix(".0") for value in used.values())


def _units(netlist: Netlist, module: str, depth: int, level: int = 0) -> Iterator[tuple[str, dict[str, float]]]:
    """The module and, down to `depth`, what is in it, the largest first."""
    yield "  " * level + module.rpartition(".")[2], usage(netlist, module)
    if level < depth:
        inside = sorted(((usage(netlist, cell), cell, count) for cell, count in netlist[module].items()
                         if cell in netlist), key=lambda unit: -unit[2] * unit[0]["LUT"])
        for _, cell, count in inside:
            for number, (name, used) in enumerate(_units(netlist, cell, depth, level + 1)):
                yield (f"{name} x {count}" if count > 1 and not number else name), used


def table(netlist: Netlist, top: str, depth: int) -> str:
    """Markdown; a unit used several times is one line with the resources of one."""
    lines = ["| unit | " + " | ".join(KINDS) + " |", "| --- |" + " ---: |" * len(KINDS)]
    for name, used in _units(netlist, top, depth):
        indent = len(name) - len(name.lstrip())
        cells = numbers(used)
        lines.append(f"| {'&nbsp;' * indent}{name.lstrip()} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--top", default="accelerator")
    parser.add_argument("--no-dsp", action="store_true", help="multipliers from LUTs")
    parser.add_argument("--depth", type=int, default=3, help="levels of the table")
    arguments = parser.parse_args()
    synth = ULTRASCALE + (" -nodsp" if arguments.no_dsp else "")
    netlist = resources(arguments.file, arguments.top, arguments.file.parent / "resources", synth)
    print(table(netlist, arguments.top, arguments.depth))


if __name__ == "__main__":
    with as_program():
        main()
