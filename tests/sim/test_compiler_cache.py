"""The compiler cache: found in our own folder, left out where it does not work, and never a reason to fail."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hw.tool import CACHE_VARIABLE
from sim.verilate import verilate
from tests.sim.fakes import fake

ROOT = Path(__file__).parents[2]
MAKE = """echo "$*"
case "$*" in *OBJCACHE=ccache*) ccache g++ -c ../main.cpp -o main.o;; esac
"""
"""Stands for make: it takes little time, and calls the compiler cache as the real one would."""

needs_ccache = pytest.mark.skipif(shutil.which("ccache") is None, reason="ccache is not installed")


@pytest.fixture(autouse=True)
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where fakes are found first."""
    fake(tmp_path / "bin" / "make", MAKE)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path / "bin"


def build(folder: Path) -> str:
    """Verilates a module; what was said."""
    folder.mkdir()
    (folder / "top.v").write_text("module top(input a, output b); assign b = a; endmodule\n")
    (folder / "main.cpp").write_text("int main() { return 0; }\n")
    verilate(folder, ["main.cpp", "top.v"], "top", [], folder / "log")
    return (folder / "log").read_text()


@needs_ccache
@pytest.mark.parametrize("home", ["/proc/nowhere", None], ids=["no folder", "unset"])
def test_it_is_kept_in_our_own_folder(
    home: str | None, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CCACHE_DIR", raising=False)
    monkeypatch.delenv("HOME")
    if home:
        monkeypatch.setenv("HOME", home)
    assert "OBJCACHE=ccache" in build(tmp_path / "model")
    assert any((cache / "ccache").rglob("stats"))


@needs_ccache
def test_a_folder_of_its_own_is_the_users_choice(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CCACHE_DIR", str(tmp_path / "theirs"))
    assert "OBJCACHE=ccache" in build(tmp_path / "model")
    assert (tmp_path / "theirs").exists()
    assert not (cache / "ccache").exists()


@pytest.mark.parametrize("script", [None, "exit 1", "kill -SEGV $$", "exit 127"],
                         ids=["cannot write", "fails", "a signal", "does not start"])
@pytest.mark.usefixtures("cache")
def test_one_that_does_not_work_is_left_out(
    script: str | None, tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if script is None:
        monkeypatch.setenv("CCACHE_DIR", "/proc/nowhere")
    else:
        fake(tools / "ccache", script)
    assert "OBJCACHE" not in build(tmp_path / "model")


def test_no_cache_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, "/proc/cache")
    monkeypatch.delenv("CCACHE_DIR", raising=False)
    assert "OBJCACHE" not in build(tmp_path / "model")


# ---- `make setup`

NO_CCACHE = "there is no ccache; it is not needed"
MISSING = "missing system packages; install them with: sudo apt-get install g++"


@pytest.mark.parametrize("packages, has, fails, code, asked, said", [
    (["g++", "ccache"], [], "", 0, [], ""),
    (["g++"], ["apt-get"], "", 0, ["update -qq", "install -y -qq ccache"], ""),
    (["g++"], ["apt-get"], "update", 0, ["update -qq"], ""),
    (["g++"], ["apt-get"], "ccache", 0, ["update -qq", "install -y -qq ccache"], NO_CCACHE),
    (["g++"], [], "", 0, [], ""),
    ([], ["apt-get"], "ccache", 0, ["update -qq", "install -y -qq g++", "install -y -qq ccache"], NO_CCACHE),
    ([], ["apt-get"], "g++", 2, ["update -qq", "install -y -qq g++", "install -y -qq ccache"], MISSING),
    ([], ["apt-get"], "update", 2, ["update -qq"], MISSING),
    ([], [], "", 2, [], MISSING),
], ids=["all there", "installed", "no network", "no package", "no apt-get", "g++ too", "no g++", "no network for g++",
        "nothing"])
def test_system_packages(
    packages: list[str], has: list[str], fails: str, code: int, asked: list[str], said: str, tmp_path: Path,
) -> None:
    programs = tmp_path / "bin"
    for name in [*packages, "make"]:
        fake(programs / name, "exit 0")
    fake(programs / "python3", "exit 0")
    fake(programs / "id", "echo 0")
    calls = tmp_path / "calls"
    calls.touch()
    if has:
        fake(programs / "apt-get", f'echo "$*" >> "{calls}"\ncase "$*" in *"{fails or "nothing"}"*) exit 1;; esac')
    done = subprocess.run(["/bin/sh", str(ROOT / "tools" / "system_packages.sh")], env={"PATH": str(programs)},
                          text=True, capture_output=True, timeout=20, check=False)
    assert (done.returncode, done.stderr.strip()) == (code, said)
    assert calls.read_text().splitlines() == asked
