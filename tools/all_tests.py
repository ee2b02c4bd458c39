"""Every test, the long ones too: `python -m tools.all_tests` (`make test-all`), whose result is docs/results/tests.md.

`make test` leaves out the tests that are marked `long`: those that are long only because of their size. Here they all
run. What passed is saved in build/all-tests; after an interruption or a failure it is not run again, as long as no
file of the project has changed. The exit code is pytest's.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from boards.results import machine
from sw.installed import commit
from sw.whole_file import whole_file

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "docs" / "results" / "tests.json"
TABLE = RESULT.with_suffix(".md")
SAVED = ROOT / "build" / "all-tests"
PASSED = "ALL_TESTS_PASSED"
"""Environment variable with the file of tests that had passed before pytest started. All workers skip these tests."""


class Recorder:
    """Plugin of the process that starts the workers: appends outcome and seconds of every test to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seconds: dict[str, float] = defaultdict(float)
        self._outcomes: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] += report.duration
        if report.failed or report.skipped:
            self._outcomes[report.nodeid] = report.outcome
        if report.when == "teardown":
            line = {"test": report.nodeid, "outcome": self._outcomes.get(report.nodeid, "passed"),
                    "seconds": round(self._seconds[report.nodeid], 3), "long": "long" in report.keywords}
            with self._path.open("a") as file:
                file.write(json.dumps(line) + "\n")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the tests that had passed before."""
    path = os.environ.get(PASSED)
    known = set(json.loads(Path(path).read_text())) if path else set()
    left_out = [item for item in items if item.nodeid in known]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item.nodeid not in known]


def sources() -> str:
    """Hash of all files of the project except the documents, because this program writes some of them."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    digest = hashlib.sha256(sys.version.encode())
    for name in sorted(names.split("\0")):
        path = ROOT / name
        if name and not name.startswith("docs/") and path.is_file():
            digest.update(f"{name}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The newest line of every test; a last line that was cut off is left out."""
    found: dict[str, dict[str, Any]] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            one = json.loads(line)
        except ValueError:
            continue
        found[one["test"]] = one
    return found


def result(tests: dict[str, dict[str, Any]], wall_s: float) -> dict[str, Any]:
    """The committed record: counts, seconds by folder, the longest tests."""
    folders: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for name, one in tests.items():
        folders[str(Path(name.partition("::")[0]).parent)].append(one)
    longest = sorted(tests.values(), key=lambda one: -one["seconds"])[:20]
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": commit(), "machine": machine(),
        "python": platform.python_version(), "command": "make test-all", "wall_s": round(wall_s),
        "outcomes": dict(Counter(one["outcome"] for one in tests.values())),
        "long": sum(one["long"] for one in tests.values()),
        "folders": {name: {"tests": len(ones), "long": sum(one["long"] for one in ones),
                           "worker_s": round(sum(one["seconds"] for one in ones))}
                    for name, ones in sorted(folders.items())},
        "longest": [{"test": one["test"], "worker_s": round(one["seconds"]), "long": one["long"]} for one in longest],
    }


def markdown(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in record["outcomes"].items())
    lines = [
        "# Tests", "", f"Written by `{record['command']}`: every test, also the {record['long']} that `make test` "
        "leaves out because of their size.", "",
        f"{record['date']}, commit {record['commit']}, {record['machine']}, Python {record['python']}: {outcomes}, in "
        f"{record['wall_s']} s.", "",
        "| folder | tests | of them long | seconds of a worker |", "| --- | ---: | ---: | ---: |",
        *(f"| {name} | {one['tests']} | {one['long']} | {one['worker_s']} |"
          for name, one in record["folders"].items()),
        "", "| the longest tests | seconds of a worker | long |", "| --- | ---: | --- |",
        *(f"| `{one['test'].replace('|', chr(92) + '|')}` | {one['worker_s']} | {'yes' if one['long'] else ''} |"
          for one in record["longest"]),
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """The exit code."""
    path = SAVED / f"{sources()}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    walls = path.with_suffix(".seconds")
    passed = path.with_suffix(".passed")
    passed.write_text(json.dumps([name for name, one in read(path).items() if one["outcome"] != "failed"]))
    os.environ[PASSED] = str(passed)
    start = datetime.now(UTC)
    try:
        options = ["-q", "-n", "2", "--dist", "worksteal", "-p", "tools.all_tests"]
        code = pytest.main([*options, *arguments], plugins=[Recorder(path)])
    finally:
        with walls.open("a") as file:
            file.write(f"{(datetime.now(UTC) - start).total_seconds()}\n")
    tests = read(path)
    nothing_left = code == pytest.ExitCode.NO_TESTS_COLLECTED and bool(tests)
    if (code == pytest.ExitCode.OK or nothing_left) and not arguments:
        record = result(tests, sum(map(float, walls.read_text().split())))
        for file_path, text in ((RESULT, json.dumps(record, indent=1) + "\n"), (TABLE, markdown(record))):
            with whole_file(file_path) as file:
                file.write(text.encode())
        print(f"{TABLE.relative_to(ROOT)}: {len(tests)} tests")
        return 0
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
