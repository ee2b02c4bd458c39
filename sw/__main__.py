"""`bitnet-fpga COMMAND`, or `python -m sw COMMAND`: what can be said whatever can be imported.

The command line is `sw/cli/command_line.py`. This file alone has to work where nothing is as it should be: with an
older Python, or without the packages that every command needs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from sw import OURS

__all__ = ["main"]

NEEDED = (3, 11)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line with the given arguments (default: those of the process); the exit code."""
    found = ".".join(str(part) for part in sys.version_info[:2])
    if sys.version_info < NEEDED:
        sys.stderr.write("error: this is Python " + found + " (" + sys.executable + "), 3.11 or later is needed\n")
        return 2
    try:
        from sw.cli.command_line import main as run

        return run(arguments)
    except ImportError as error:
        if not error.name or error.name.split(".")[0] in OURS:
            raise
        state = "is not installed" if isinstance(error, ModuleNotFoundError) else "cannot be imported"
        sys.stderr.write("error: the package " + error.name + " " + state + " for " + sys.executable
                         + ": run `make setup` in the clone and .venv/bin/bitnet-fpga, or pip install the clone\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
