"""A wheel holds every file of its packages that the repository has, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"bitnet_fpga", "hw", "sw", "sim", "boards"}
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """Files of the repository, as far as they are there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools puts into a wheel what an older build has left in its folder."""
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in tracked:
        if not name.startswith(("tests/", "models/")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    run = subprocess.run([sys.executable, "-c", BUILD, str(output)], cwd=source, capture_output=True, text=True,
                         check=False, timeout=120)
    assert not run.returncode, run.stderr[-2000:]
    return next(output.iterdir())


def test_files(wheel: Path, tracked: list[str]) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    found = {name for name in names if ".dist-info/" not in name}
    assert found == {name for name in tracked if name.partition("/")[0] in PACKAGES}
    assert {f"{name}/py.typed" for name in PACKAGES} <= found
    assert [name for name in names if name.endswith("/licenses/LICENSE")]


def test_metadata(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    name = next(name for name in archive.namelist() if name.endswith("/METADATA"))
    fields = Parser().parsestr(archive.read(name).decode())
    assert fields["Name"] == "bitnet-fpga"
    assert fields["License-Expression"] == "Apache-2.0"
    assert set(fields.get_all("Provides-Extra", [])) == {
        "verilog", "sim", "board", "server", "plot", "notebook", "test"}
