"""Writes docs/results/boards.json and boards.md from the reports in build/: `python -m boards.results`."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from boards import BOARDS, board
from boards.board import Board
from hw.contract.config import ConfigError
from hw.extras import as_program

__all__ = ["PAGE", "RESULT", "machine", "main", "results"]

RESULT, PAGE = Path("docs/results/boards.json"), Path("docs/results/boards.md")


def machine() -> str:
    """Processor and cores, for a report."""
    names = (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name"))
    model = next(names, platform.machine())
    return f"{os.cpu_count()} cores of {model}"


def results(reports: list[dict[str, Any]]) -> str:
    """The page for the record, reports of `bitnet-fpga build` with `made`: when and where."""
    lines = [
        "# Bitstreams", "",
        "Written by `make board-results` from nextpnr's reports after routing. No FPGA has been programmed with them.",
        "",
        "| board, preset | LUT | FF | block RAM | DSP | clocks: reached, needed | seed | made |",
        "| --- | ---: | ---: | ---: | ---: | --- | ---: | --- |",
    ]
    for report in reports:
        cells = [f"{used['used']:,} ({100 * used['used'] // used['available']} %)"
                 for used in report["resources"].values()]
        clocks = ", ".join(f"{name} {clock['fmax_mhz']} MHz, {clock['required_mhz']}"
                           for name, clock in report["clocks"].items())
        lines.append(f"| {board(report['board']).title}, `{report['preset']}` | {' | '.join(cells)} | {clocks} | "
                     f"{report['seed']} | {report['made']} |")
    lines += ["", "The slowest path of each clock, from register to register, and from each clock to another:", ""]
    for report in reports:
        lines += [f"- {report['board']}, {path['clock']}: `{path['from']}` to `{path['to']}`, {path['ns']} ns, "
                  f"{path['routing_ns']} of them routing" for path in report["slowest_paths"]]
        lines += [f"- {report['board']}, from {path['from_clock']} to {path['to_clock']}: {path['ns']} ns"
                  for path in report["crossings"]]
    lines += ["", "| board | build | SHA-256 of the .bit | made with |", "| --- | --- | --- | --- |"]
    for report in reports:
        versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
        lines.append(f"| {report['board']} | {report['build_id']} | `{report['bitstream_sha256']}` | {versions} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """The reports of all boards that the open tools have built here replace those of the record; the others stay."""
    known: dict[str, dict[str, Any]] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    files = {name: path for name in BOARDS if isinstance(board(name), Board)
             and (path := Path("build") / name / "report.json").is_file()}
    if not files:
        raise ConfigError("no board has been built here by the open tools: run `make bitstream BOARD=...` first")
    for name, path in files.items():
        built = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        known[name] = {"made": f"{built:%Y-%m-%d}, {machine()}", **json.loads(path.read_text())}
    record = {name: known[name] for name in BOARDS if name in known}
    RESULT.write_text(json.dumps(record, indent=1) + "\n")
    PAGE.write_text(results([*record.values()]))


if __name__ == "__main__":
    with as_program():
        main()
