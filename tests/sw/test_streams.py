"""Standard output and error that are closed, full, or read by nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
DEMO = "models/shakespeare-nano"
GENERATE = f"generate {DEMO} --prompt ROMEO: --max-new-tokens 12"
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
"""With buffers, what could not be printed is tried again when the process ends."""


def run(arguments: str, streams: str) -> subprocess.CompletedProcess[str]:
    """`python -m sw` with redirections of the shell; the exit code is that of the program, whatever it is piped to."""
    command = f"set -o pipefail; {sys.executable} -m sw {arguments} {streams}"
    return subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        stdin=subprocess.DEVNULL, env=BUFFERED,
    )


@pytest.mark.parametrize("arguments", ["--help", f"inspect {DEMO}", f"inspect {DEMO} --json", GENERATE])
@pytest.mark.parametrize("streams", ["| head -c 3", "2>&1 | head -c 3", ">&-", "2>/dev/full | cat", "2>&- | cat"])
def test_nobody_listens(arguments: str, streams: str) -> None:
    result = run(arguments, streams)
    assert result.returncode == 0, result.stderr
    assert "Error" not in result.stderr
    assert "Exception" not in result.stderr


@pytest.mark.parametrize("arguments", ["--help", f"inspect {DEMO}", f"inspect {DEMO} --json", GENERATE])
def test_output_that_is_lost_is_an_error(arguments: str) -> None:
    result = run(arguments, ">/dev/full")
    assert (result.returncode, result.stderr) == (2, "error: No space left on device\n")


@pytest.mark.parametrize("streams", ["| head -c 3", "2>&1 | head -c 3", ">&- 2>&-"])
def test_logits_are_written_all_the_same(streams: str, tmp_path: Path) -> None:
    """What was asked for besides the text does not depend on a reader of the text."""
    assert run(f"{GENERATE} --logits {tmp_path}/l.npz", streams).returncode == 0
    with np.load(tmp_path / "l.npz") as saved:
        assert len(saved["tokens"]) == 12
    assert [p.name for p in tmp_path.iterdir()] == ["l.npz"]


def test_logits_are_not_written_where_the_text_is_lost(tmp_path: Path) -> None:
    result = run(f"{GENERATE} --logits {tmp_path}/l.npz", ">/dev/full")
    assert (result.returncode, result.stderr) == (2, "error: No space left on device\n")
    assert not list(tmp_path.iterdir())


def test_closed_streams_are_not_given_to_files(tmp_path: Path) -> None:
    """Descriptors 0 to 2 would go to the next files that are opened, and what is printed into them."""
    path = tmp_path / "i"
    assert run(f"pack {DEMO} -o {path}", "").returncode == 0
    whole = path.read_bytes()
    assert run(f"pack {DEMO} -o {path}", "<&- >&- 2>&-").returncode == 0
    assert path.read_bytes() == whole


def test_errors_on_a_closed_stderr_do_not_go_to_stdout() -> None:
    result = run("inspect /nowhere", "2>&-")
    assert (result.returncode, result.stdout) == (2, "")


def test_standard_output_is_no_output_file(tmp_path: Path) -> None:
    result = run(f"pack {DEMO} -o /dev/stdout", f"> {tmp_path}/f")
    assert result.returncode == 2
    assert result.stderr == "error: cannot write /dev/stdout: it is standard input, output or error\n"


def test_text_that_the_encoding_does_not_know() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "sw", "verilog", "-o", "/dev/null/ä"], cwd=ROOT, capture_output=True, check=False,
        env={"PYTHONIOENCODING": "ascii"},
    )
    assert result.returncode == 2
    assert b"\\xe4" in result.stderr
    assert result.stderr.count(b"\n") == 1
