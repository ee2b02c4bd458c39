"""Progress is shown where it can be seen, and nowhere else. tests/test_notebooks.py shows it in a notebook."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from sw.cli.progress import bar, console

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from bitnet_fpga import Session
with Session(sys.argv[1], progress=sys.argv[2] == "shown") as session:
    session.load()
    session.load(lambda done, total: None)
"""


@pytest.mark.parametrize("shown", [True, False])
def test_of_a_session_in_a_terminal(shown: bool) -> None:
    """Packing has bars there, if the session is to show any."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", PROGRAM, "models/shakespeare-nano", "shown" if shown else "quiet"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
    process = subprocess.Popen(command, cwd=ROOT, stderr=theirs, env=environment)
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 1 << 16):
            said += part
    except OSError:  # Linux: the other end is closed
        pass
    finally:
        os.close(ours)
    assert process.wait(60) == 0
    assert (b"pack stream" in said) == shown
    assert shown or not said


def test_of_a_session_without_a_terminal() -> None:
    command = [sys.executable, "-c", PROGRAM, "models/shakespeare-nano", "shown"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_notebook_without_what_shows_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A sentence says what to install, and the work goes on."""
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("sw.cli.progress.find_spec", lambda name: None)
    sentence = r"progress is not shown: ipywidgets is not installed: run .*pip install 'bitnet-fpga\[notebook\]'"
    with pytest.warns(UserWarning, match=sentence), bar("load") as told:
        told(1, 2)
    assert console(shown=False).quiet
    assert capsys.readouterr() == ("", "")
