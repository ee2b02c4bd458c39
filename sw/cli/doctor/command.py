"""`bitnet-fpga doctor`: whether a board works, or what this computer lacks, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from sw.cli.doctor.finding import Finding
from sw.errors import HardwareError, JobError

if TYPE_CHECKING:
    from boards.board import AnyBoard

__all__ = ["doctor"]


def _findings(board: AnyBoard, port: str, full: bool) -> Iterator[Finding]:
    """The link, then what `examine` finds behind it."""
    from sw.cli.doctor.examine import examine
    from sw.cli.progress import console
    from sw.links.machines import connect

    try:
        bus = connect(board.backend, port)
    except HardwareError as error:
        yield Finding("link", False, str(error))
        return
    with closing(bus), console().status("examining") as status:
        yield Finding("link", True, bus.describe())
        yield from examine(
            board.config, bus, full=full,
            progress=lambda done, total: status.update(f"all memory: {done >> 20} of {total >> 20} MiB written"),
        )


def _examine_host(as_json: bool) -> None:
    """Raises ConfigError if what every command needs is missing."""
    from hw.contract.config import ConfigError
    from sw.cli.doctor.host import examine_host

    found = []
    for finding in examine_host():
        found.append(finding)
        if not as_json:
            advice = [] if finding.ok else [f"needed for {finding.needed_for}: {finding.remedy}"]
            print(f"{finding.check:<20} {finding.state:<7}  {'; '.join(filter(None, [finding.text, *advice]))}",
                  flush=True)
    wrong = [finding.check for finding in found if finding.required and not finding.ok]
    if as_json:
        checks = [{**asdict(finding), "state": finding.state} for finding in found]
        print(json.dumps({"ok": not wrong, "checks": checks}, indent=2))
    if wrong:
        raise ConfigError(f"no command can work as long as this is not right: {', '.join(wrong)}")


def doctor(
    board_name: Annotated[str | None, typer.Option("--board", help="Board that is connected; without it this computer "
                                                   "is examined.")] = None,
    port: Annotated[str, typer.Option(help="Serial port; auto: the first with a board.")] = "auto",
    full: Annotated[bool, typer.Option("--full", help="Write and read all of the memory, at the speed of the link.")]
    = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what this computer has and lacks, or check a board with its bitstream loaded.

    Without --board: versions of Python, packages, compilers and tools, folders, access to serial ports; of what is
    missing, which commands need it and what to do. Exit code 2 only if `generate` on the golden model cannot work.

    With --board: link, build id, memory, known answers. Overwrites its memory. Each check is built on those before it;
    the first that fails names the cause and ends the examination.
    """
    if board_name is None:
        if full or port != "auto":
            raise JobError(f"{'--full' if full else '--port'} needs --board: it is for a board that is connected")
        _examine_host(as_json)
        return
    from boards import board as board_of

    board = board_of(board_name)
    found: list[Finding] = []
    for finding in _findings(board, port, full):
        found.append(finding)
        if not as_json:
            print(f"{finding.check:<20} {'ok   ' if finding.ok else 'WRONG'}  {finding.text}", flush=True)
    if as_json:
        print(json.dumps({"board": board.name, "ok": found[-1].ok, "checks": [asdict(one) for one in found]}, indent=2))
    if not found[-1].ok:
        raise HardwareError(f"{board.title}: the check of {found[-1].check} failed")
