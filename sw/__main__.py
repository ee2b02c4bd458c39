"""Entry point of `bitnet-fpga COMMAND` and of `python -m sw COMMAND`: check Python and packages, run the command line.

The command line itself is `sw/cli/command_line.py`. This file must also work on an older Python and without the
packages that every command needs, because it prints the error for these cases. So it imports only the standard library.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from sw import OURS

__all__ = ["main"]

NEEDED = (3, 11)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line with the given arguments (default: those of the process) and return the exit code."""
    found = ".".join(str(part) for part in sys.version_info[:2])
    if sys.version_info < NEEDED:
        sys.stderr.write("error: Python 3.11 or later is required, but " + sys.executable + " is Python " + found
                         + ": run the command with a later Python\n")
        return 2
    try:
        from sw.cli.command_line import main as run

        return run(arguments)
    except ImportError as error:
        if not error.name or error.name.split(".")[0] in OURS:
            raise
        state = "is not installed" if isinstance(error, ModuleNotFoundError) else "cannot be imported"
        sys.stderr.write("error: the package " + error.name + " " + state + " for " + sys.executable
                         + ": run `make setup` in the clone and use .venv/bin/bitnet-fpga, or install the clone with "
                         "pip\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
