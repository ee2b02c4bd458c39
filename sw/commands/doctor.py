"""`bitnet-fpga doctor`: whether a board works, and what is wrong if it does not."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from importlib import import_module
from typing import Annotated, Any

import typer
from rich.console import Console

from sw.doctor.examine import Finding, examine
from sw.driver import LINKS
from sw.errors import HardwareError

__all__ = ["doctor"]


def _findings(board: Any, options: dict[str, Any], full: bool, console: Console) -> Iterator[Finding]:
    """The link, then what `examine` finds behind it."""
    try:
        bus = import_module(LINKS[board.backend]).connect(**options)
    except HardwareError as error:
        yield Finding("link", False, str(error))
        return
    with closing(bus), console.status("examining") as status:
        yield Finding("link", True, bus.describe())
        yield from examine(
            board.config, bus, full=full,
            progress=lambda done, total: status.update(f"all memory: {done >> 20} of {total >> 20} MiB written"),
        )


def doctor(
    board_name: Annotated[str, typer.Option("--board", help="Board that is connected.")],
    port: Annotated[str, typer.Option(help="Serial port; auto: the first with a board.")] = "auto",
    full: Annotated[bool, typer.Option("--full", help="Write and read all of the memory, at the speed of the link.")]
    = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check a board with its bitstream loaded: link, build id, memory, known answers. Overwrites its memory.

    Each check is built on those before it; the first that fails names the cause and ends the examination.
    """
    board = import_module("boards").board(board_name)
    options = {"port": port} if board.backend == "serial" else {}
    found: list[Finding] = []
    for finding in _findings(board, options, full, Console(stderr=True, quiet=not sys.stderr.isatty())):
        found.append(finding)
        if not as_json:
            print(f"{finding.check:<20} {'ok   ' if finding.ok else 'WRONG'}  {finding.text}", flush=True)
    if as_json:
        print(json.dumps({"board": board.name, "ok": found[-1].ok, "checks": [asdict(one) for one in found]}, indent=2))
    if not found[-1].ok:
        raise HardwareError(f"{board.title}: the check of {found[-1].check} failed")
