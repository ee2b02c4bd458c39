"""What `make test-all` saves, leaves out and reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tools.all_tests import PASSED, markdown, read, result

ROOT = Path(__file__).parents[1]
TESTS = """
import pytest

def test_a():
    pass

@pytest.mark.long
def test_b():
    assert {b}

def test_c():
    pytest.skip("no tool")
"""


def session(folder: Path, b: bool, passed: list[str]) -> str:
    """What pytest says of three tests in a worker, one of which fails or passes; with both parts of the plugin."""
    (folder / "test_it.py").write_text(TESTS.format(b=b))
    (folder / "conftest.py").write_text(
        "from pathlib import Path\nfrom tools.all_tests import Recorder\n"
        "def pytest_configure(config):\n"
        "    config.addinivalue_line('markers', 'long: x')\n"
        "    if not hasattr(config, 'workerinput'):\n"
        "        config.pluginmanager.register(Recorder(Path('found.jsonl')))\n")
    (folder / "passed.json").write_text(json.dumps(passed))
    environment = os.environ | {"PYTHONPATH": str(ROOT), PASSED: str(folder / "passed.json")}
    command = [sys.executable, "-m", "pytest", "-q", "-n", "1", "-p", "tools.all_tests", "--rootdir", str(folder)]
    return subprocess.run(
        command, cwd=folder, env=environment, check=False, capture_output=True, text=True, timeout=120).stdout


def test_what_failed_runs_again_and_what_passed_does_not(tmp_path: Path) -> None:
    assert "1 failed, 1 passed, 1 skipped" in session(tmp_path, False, [])
    with (tmp_path / "found.jsonl").open("a") as file:
        file.write('{"test": "cut o')  # the machine was switched off
    found = read(tmp_path / "found.jsonl")
    assert {name: (one["outcome"], one["long"]) for name, one in found.items()} == {
        "test_it.py::test_a": ("passed", False), "test_it.py::test_b": ("failed", True),
        "test_it.py::test_c": ("skipped", False)}
    (tmp_path / "found.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in found.values()))
    said = session(tmp_path, True, ["test_it.py::test_a", "test_it.py::test_c"])
    assert "1 passed" in said
    assert "skipped" not in said
    assert {one["outcome"] for one in read(tmp_path / "found.jsonl").values()} == {"passed", "skipped"}


def test_the_report() -> None:
    record = result({name: {"test": name, "outcome": "passed", "seconds": 2.6, "long": "b" in name}
                     for name in ("tests/a/test_x.py::test_a", "tests/a/test_x.py::test_b[1|2]")}, 4.2)
    assert record["outcomes"] == {"passed": 2}
    assert record["folders"] == {"tests/a": {"tests": 2, "long": 1, "worker_s": 5}}
    assert "2 passed, in 4 s" in markdown(record)
    assert "| `tests/a/test_x.py::test_b[1\\|2]` | 3 | yes |" in markdown(record)
