"""`bitnet-fpga boards`: list the supported boards, the bitstreams that were built, and which boards are connected."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from boards.board import AnyBoard
    from sw.links.found import Found

T = TypeVar("T")

__all__ = ["boards", "known_boards"]


def _answer(board: AnyBoard, found: Found) -> dict[str, Any]:
    """JSON of what was found at one port, compared with one board.

    `this_board` is true if clock and memory size match the board, `current` if the build ID matches as well.
    """
    said = found.identity
    same = said is not None and said.clock_hz in (None, board.clock_hz) and said.memory_bytes in (
        None, board.memory_bytes)
    return {
        "at": found.at, "build_id": None if said is None else f"{said.build_id:016x}", "this_board": same,
        "current": said is not None and same and said.build_id == board.config.build_id,
        "problem": found.problem or None,
    }


def _state(board: AnyBoard, folder: Path, found: Sequence[Found]) -> dict[str, Any]:
    """JSON of one board: its bitstream, if one was built, and what was found at each port where it may be connected.

    `current` is true if the bitstream was built from today's configuration.
    """
    build_id = f"{board.config.build_id:016x}"
    path = folder / board.name / "report.json"
    report = json.loads(path.read_text()) if path.is_file() else None
    return {
        "board": board.name, "title": board.title, "preset": board.config.name, "backend": board.backend,
        "clock_mhz": board.clock_hz / 1e6, "memory_bytes": board.memory_bytes, "build_id": build_id,
        "bitstream": None if report is None else str(path.with_name(board.bitstream)),
        "current": report is not None and report["build_id"] == build_id,
        "connected": [_answer(board, one) for one in found],
    }


def _built(state: dict[str, Any]) -> str:
    if state["bitstream"] is None:
        return "not built"
    return state["bitstream"] + ("" if state["current"] else ", built from another configuration: build it again")


def _connected(state: dict[str, Any]) -> str:
    """Text for the ports where this board is connected."""
    places = [f"connected at {answer['at']}"
              + ("" if answer["current"] else f" with another build, {answer['build_id']}: load it again")
              for answer in state["connected"] if answer["this_board"]]
    return ", ".join(places) or "not connected"


def _ready(names: Iterable[str], load: Callable[[str], T]) -> tuple[dict[str, T], dict[str, str]]:
    """Results of `load` by name, and for each name whose packages are not installed a sentence that says so."""
    from hw.extras import what_is_missing

    loaded: dict[str, T] = {}
    absent: dict[str, str] = {}
    for name in names:
        try:
            loaded[name] = load(name)
        except ImportError as error:
            sentence = what_is_missing(error)
            if sentence is None:
                raise
            absent[name] = sentence
    return loaded, absent


def known_boards() -> tuple[dict[str, AnyBoard], dict[str, str]]:
    """All boards by name, and for each board whose packages are not installed a sentence that says so."""
    from boards import BOARDS, board

    return _ready(BOARDS, board)


def boards(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder where `build` writes.")] = Path("build"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the boards with preset and bitstream, and whether each is connected. Probing serial ports takes up to 8 s.

    For a board whose packages are not installed, the list names the packages to install. Ports that need a missing
    package are not probed.
    """
    from sw.cli.progress import console
    from sw.links.machines import find

    known, absent = known_boards()
    with console().status("probing the ports"):
        found, unasked = _ready(sorted({one.backend for one in known.values()}), find)
    states = [_state(one, output, found.get(one.backend, [])) for one in known.values()]
    for state in states:
        state["problem"] = unasked.get(state["backend"])
    if as_json:
        print(json.dumps([*states, *({"board": name, "problem": why} for name, why in absent.items())], indent=2))
        return
    for state in states:
        print(f"{state['board']:<12} {state['title']}; preset {state['preset']}, {state['clock_mhz']:g} MHz, "
              f"build {state['build_id']}; {_built(state)}; {state['problem'] or _connected(state)}")
    for name, why in absent.items():
        print(f"{name:<12} {why}")
    answers = {answer["at"]: answer for state in states for answer in state["connected"]}
    claimed = {answer["at"] for state in states for answer in state["connected"] if answer["this_board"]}
    for at in sorted(answers.keys() - claimed):
        print(f"{at}: {answers[at]['problem'] or 'not a known board, build ' + answers[at]['build_id']}")
