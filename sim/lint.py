"""Verilator's lint of generated Verilog, read as Verilog-2005 and as SystemVerilog: `python -m sim.lint FILE ...`.

Exit code 1 on a warning.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from hw.extras import as_program
from hw.tool import ToolError
from sim.verilate import lint as run_lint

__all__ = ["LANGUAGES", "lint", "main"]

LANGUAGES = ("1364-2005", "1800-2017")
"""For `--language`."""


def lint(file: Path, language: str) -> str:
    """Warnings of Verilator, such as latches, several drivers or combinational loops; empty if there are none. The file
    has the name of its module."""
    with tempfile.NamedTemporaryFile("r") as log:
        try:
            run_lint(file.parent, ["--language", language, "--top-module", file.stem, file.name], Path(log.name))
        except ToolError as error:
            return log.read() or str(error)
        return log.read()


def main(files: list[str]) -> int:
    """Command line."""
    failed = False
    for file in files:
        for language in LANGUAGES:
            said = lint(Path(file), language)
            print(f"{file} as {language}: {said[-3000:] or 'no warnings'}", file=sys.stderr)
            failed |= bool(said)
    return int(failed)


if __name__ == "__main__":
    with as_program():
        sys.exit(main(sys.argv[1:]))
