"""`bitnet-fpga COMMAND`, or `python -m sw COMMAND`: what can be said before anything else is imported.

The command line is `sw/command_line.py`. This file alone has to work where nothing is as it should be: with an older
Python, or without the packages that every command needs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]

NEEDED = (3, 11)
OURS = ("hw", "sw", "sim", "boards")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line with the given arguments (default: those of the process); the exit code."""
    found = ".".join(str(part) for part in sys.version_info[:2])
    if sys.version_info < NEEDED:
        sys.stderr.write("error: this is Python " + found + " (" + sys.executable + "), 3.11 or later is needed\n")
        return 2
    try:
        from sw.command_line import main as run
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in OURS:
            raise
        sys.stderr.write("error: the package " + str(error.name) + " is not installed for " + sys.executable
                         + ": run `make setup` in the clone and .venv/bin/bitnet-fpga, or pip install bitnet-fpga\n")
        return 2
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
