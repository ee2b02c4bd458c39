"""What `make` sets up anew, and what it removes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hw.tool import CACHE_VARIABLE
from sim.model_cache import simulators

ROOT = Path(__file__).parents[1]
ODD = "sp ace & ümlaut $(x)'"


def dry_run(folder: Path, target: str) -> str:
    # As from a shell: a make that runs these tests hands on its level, at which folders' names are printed.
    inherited = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    environment = {name: value for name, value in os.environ.items() if name not in inherited}
    make = ["make", "-n", target]
    return subprocess.run(make, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout


def test_setup_notices_that_the_project_was_moved(tmp_path: Path) -> None:
    place = tmp_path / ODD
    (place / ".venv" / "bin").mkdir(parents=True)
    (place / "tools").mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "tools/system_packages.sh"):
        shutil.copy(ROOT / name, place / name)
    (place / ".venv" / "bin" / "python").symlink_to(sys.executable)
    assert "-m venv --clear" in dry_run(place, "setup")
    (place / ".venv" / ".ready").write_text(f"{place}\n")
    assert "venv" not in dry_run(place, "setup")
    (place / "requirements.lock").touch()
    assert "-m venv .venv" in dry_run(place, "setup")
    (place / ".venv" / ".ready").touch()
    (place / ".venv" / "bin" / "python").unlink()  # the system's Python is another one now
    assert "-m venv --clear" in dry_run(place, "setup")
    (place / ".venv" / "bin" / "python").symlink_to(sys.executable)
    moved = place.rename(tmp_path / "moved")
    assert "-m venv --clear" in dry_run(moved, "setup")


def test_clean_removes_the_simulators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variables in ({}, {CACHE_VARIABLE: ""}, {CACHE_VARIABLE: str(tmp_path / ODD)}):
        monkeypatch.delenv(CACHE_VARIABLE, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        command = dry_run(ROOT, "clean").replace("rm -rf build .venv ", "printf %s ")
        done = subprocess.run(command, shell=True, check=True, capture_output=True, text=True)
        assert done.stdout == str(simulators())
