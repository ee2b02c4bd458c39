"""`bitnet-fpga doctor`: check a board, or the host computer, and say how to fix what is wrong."""

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
    """The finding for the connection, then those of `examine`."""
    from sw.cli.doctor.examine import examine
    from sw.cli.progress import console
    from sw.links.machines import connect

    try:
        bus = connect(board.backend, port)
    except HardwareError as error:
        yield Finding("link", False, str(error))
        return
    with closing(bus), console().status("checking the board") as status:
        yield Finding("link", True, bus.describe())
        yield from examine(
            board.config, bus, full=full,
            progress=lambda done, total: status.update(f"all memory: {done >> 20} of {total >> 20} MiB written"),
        )


def _examine_host(as_json: bool) -> None:
    """Print the findings for the host computer. Raises ConfigError if something is wrong that every command needs."""
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
        raise ConfigError(f"every command needs what is missing or wrong here: {', '.join(wrong)}; the lines above say "
                          "what to do")


def doctor(
    board_name: Annotated[str | None, typer.Option("--board", help="Connected board to check; without it, this "
                                                   "computer is checked.")] = None,
    preset_name: Annotated[str | None, typer.Option("--preset", help="Accelerator configuration of its bitstream; "
                                                    "default: the board's own.")] = None,
    port: Annotated[str, typer.Option(help="Serial port; auto: the first with a board.")] = "auto",
    full: Annotated[bool, typer.Option("--full", help="Also write and read all memory; slow on a serial link.")]
    = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check this computer, or a connected board with its bitstream loaded.

    Without --board: checks Python, packages, compilers, tools, folders and access to serial ports. For each missing
    item it says which commands need it and how to install it. Exit code 2 only if `generate` cannot run the golden
    model.

    With --board: checks connection, build ID, memory, and models with known results, in this order. Overwrites the
    board's memory. Each check relies on the checks before it, so the first failure ends the examination.
    """
    if board_name is None:
        if full or port != "auto" or preset_name is not None:
            option = "--full" if full else "--port" if port != "auto" else "--preset"
            raise JobError(f"{option} checks a connected board: give --board as well")
        _examine_host(as_json)
        return
    from sw.cli.target import choose_target

    _, board = choose_target(board_name, preset=preset_name)
    assert board is not None
    found: list[Finding] = []
    for finding in _findings(board, port, full):
        found.append(finding)
        if not as_json:
            print(f"{finding.check:<20} {'ok   ' if finding.ok else 'WRONG'}  {finding.text}", flush=True)
    if as_json:
        print(json.dumps({"board": board.name, "ok": found[-1].ok, "checks": [asdict(one) for one in found]}, indent=2))
    if not found[-1].ok:
        raise HardwareError(f"{board.title}: the check '{found[-1].check}' failed; see its line above")
