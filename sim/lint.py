"""Verilator's lint of generated Verilog: `python -m sim.lint FILE ...`. Exit code 1 on a warning."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from hw.extras import as_program
from hw.tool import ToolError
from sim.verilate import lint

__all__ = ["main"]

STYLE = ("-Wno-WIDTHEXPAND", "-Wno-WIDTHTRUNC", "-Wno-CASEINCOMPLETE", "-Wno-UNSIGNED")
"""Yosys writes Verilog so: sizes are implied, and a case without a match keeps the value assigned before it."""


def main(files: list[str]) -> int:
    """Latches, several drivers, combinational loops and the like are errors."""
    failed = False
    for file in files:
        with tempfile.NamedTemporaryFile("r") as log:
            try:
                lint([*STYLE, "--top-module", Path(file).stem, str(Path(file).absolute())], Path(log.name))
                print(f"{file}: no warnings", file=sys.stderr)
            except ToolError as error:
                print(log.read()[-3000:] or error, file=sys.stderr)
                failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    with as_program():
        sys.exit(main(sys.argv[1:]))
