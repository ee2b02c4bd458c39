"""`bitnet-fpga boards`: which boards there are, and what has been built for them."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["boards"]


def _state(board: Any, folder: Path) -> dict[str, Any]:
    """A board and its bitstream, if there is one: `current` when it is that of today's configuration."""
    build_id = f"{board.config.build_id:016x}"
    path = folder / board.name / "report.json"
    report = json.loads(path.read_text()) if path.is_file() else None
    return {
        "board": board.name, "title": board.title, "preset": board.config.name, "clock_mhz": board.clock_hz / 1e6,
        "memory_bytes": board.memory_bytes, "build_id": build_id,
        "bitstream": None if report is None else str(path.with_name(f"{board.name}.bit")),
        "current": report is not None and report["build_id"] == build_id,
    }


def boards(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder where `build` writes.")] = Path("build"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the boards."""
    package = import_module("boards")
    states = [_state(package.board(name), output) for name in package.BOARDS]
    if as_json:
        print(json.dumps(states, indent=2))
        return
    for state in states:
        built = "not built" if state["bitstream"] is None else state["bitstream"]
        if state["bitstream"] is not None and not state["current"]:
            built += ", of another configuration: build it again"
        print(f"{state['board']:<12} {state['title']}; preset {state['preset']}, {state['clock_mhz']:g} MHz, "
              f"build {state['build_id']}; {built}")
