"""The notices of the libraries whose circuits hardware contains are written beside it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import UnusedElaboratable

from boards import board
from boards.memory.litedram_core import MODULE
from boards.open_ecp5 import Bitstream
from hw.notice import NOTICE, notice
from hw.verilog import VerilogModule
from sw.__main__ import main

RULE = "Redistributions in binary form must reproduce the above copyright notice"
CONTROLLER = ("LiteDRAM is Copyright", "Enjoy-Digital", "M-Labs Limited")


@pytest.fixture(autouse=True)
def designs_that_nobody_elaborates(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Amaranth warns of them when they are collected."""
    monkeypatch.setattr(UnusedElaboratable, "_MustUse__silence", True, raising=False)
    yield
    gc.collect()


def test_verilog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hw.verilog.generate_verilog",
                        lambda component, name: VerilogModule(name, component.config, (), "module"))
    assert main(["verilog", "-o", str(tmp_path)]) == 0
    text = (tmp_path / NOTICE).read_text()
    assert "Amaranth HDL contributors" in text
    assert f"amaranth {metadata.version('amaranth')}" in text
    assert text.count(RULE) == 1
    assert not any(name in text for name in CONTROLLER)


@pytest.mark.parametrize("controller", [False, True])
def test_bitstream(controller: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the tools read a controller of LiteDRAM, or none."""
    def build(board: Any, top: Any, folder: Path, seed: int) -> Bitstream:
        folder.mkdir()
        if controller:
            (folder / f"{MODULE}.v").touch()
        return Bitstream(b"bits", {"build_id": "0", "resources": {}, "clocks": {}})

    monkeypatch.setattr("boards.open_ecp5.build", build)
    assert main(["build", "--board", "ulx3s" if controller else "ulx3s-bram", "-o", str(tmp_path)]) == 0
    text = (tmp_path / ("ulx3s" if controller else "ulx3s-bram") / NOTICE).read_text()
    assert text.count(RULE) == (4 if controller else 1)
    assert [name in text for name in CONTROLLER] == [controller] * len(CONTROLLER)


def test_the_controller_is_a_file_of_that_name() -> None:
    """By which `build` knows that there is one."""
    design = board("ulx3s")
    memory = design.memory()
    files: dict[str, str] = {}

    class Platform:
        def add_file(self, name: str, text: str) -> None:
            files[name] = text
            raise StopIteration

    with pytest.raises(StopIteration):
        memory.elaborate(Platform())
    assert list(files) == [f"{MODULE}.v"]


def test_a_package_without_the_text_of_its_licence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bare-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: bare\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert b"bare 1.0\n--------\n\nIts licence is part of that package." in notice(["bare"])
