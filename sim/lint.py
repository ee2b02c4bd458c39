"""Verilator's lint of generated Verilog: `python -m sim.lint FILE ...`. Exit code 1 on a warning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hw.extras import as_program

__all__ = ["main"]

STYLE = ("-Wno-WIDTHEXPAND", "-Wno-WIDTHTRUNC", "-Wno-CASEINCOMPLETE", "-Wno-UNSIGNED")
"""Yosys writes Verilog so: sizes are implied, and a case without a match keeps the value assigned before it."""


def main(files: list[str]) -> int:
    """Latches, several drivers, combinational loops and the like are errors."""
    from sim.bench import prepare_environment  # needs the extra `sim`

    prepare_environment()
    worst = 0
    for file in files:
        run = subprocess.run(
            ["verilator", "--lint-only", *STYLE, "--top-module", Path(file).stem, file],
            capture_output=True, text=True, check=False,
        )
        print(run.stderr[-3000:] if run.returncode else f"{file}: no warnings", file=sys.stderr)
        worst = max(worst, run.returncode)
    return 1 if worst else 0


if __name__ == "__main__":
    with as_program():
        sys.exit(main(sys.argv[1:]))
