# amaranth: UnusedElaboratable=no
"""Tools of the bitstream flow that are missing or fail; fakes, so that none of them runs."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("amaranth_boards")

from amaranth.hdl import Elaboratable, Module
from amaranth.lib import io

from boards import board, open_ecp5
from boards.kv260 import KV260
from boards.memory.litedram_core import DramError, generate_core
from boards.open_ecp5 import TOOLS
from hw.tool import ToolError
from tests.sim.fakes import fake


class Light(Elaboratable):
    """An LED that is on."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.led = led = io.Buffer("o", platform.request("led", 0, dir="-"))
        m.d.comb += led.o.eq(1)
        return m


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of tools that do nothing, by the names of those they stand for."""
    monkeypatch.setattr(open_ecp5, "PACKAGES", ())
    for tool in TOOLS:
        path = fake(tmp_path / "tools" / tool, "exit 0")
        monkeypatch.setenv(tool.upper().replace("-", "_"), str(path))
    return tmp_path / "tools"


@pytest.mark.parametrize("tool", TOOLS)
def test_tool_that_fails(tool: str, tools: Path, tmp_path: Path) -> None:
    """It is named; the next build does not take what is there for a result. The folder has an odd name."""
    folder = tmp_path / "sp ace & ümlaut"
    fake(tools / tool, "echo 'ERROR: No space left on device'; exit 3")
    for _ in range(2):
        with pytest.raises(ToolError) as error:
            open_ecp5.build(board("ulx3s"), Light(), folder)
        assert str(error.value) == (f"{tool} failed with exit code 3: ERROR: No space left on device; "
                                    f"all it said is in {folder / 'build.log'}")
    assert not (folder / "inputs.sha256").exists()


def test_tool_that_is_missing(tools: Path, tmp_path: Path) -> None:
    (tools / "ecppack").unlink()
    with pytest.raises(ToolError, match=r"ecppack, set by the environment variable ECPPACK, cannot be run: correct or"):
        open_ecp5.build(board("ulx3s"), Light(), tmp_path)


def test_vivado_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path / "vivado", "echo INFO; echo 'ERROR: [Common 17-39] no license'; echo 'INFO: Exiting Vivado'; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("boards.vivado.write_project", lambda board, folder: None)
    with pytest.raises(ToolError, match=r"vivado failed with exit code 1: ERROR: \[Common 17-39\] no license; all it"):
        KV260.build(tmp_path / "project", seed=None)


def test_generator_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.py").write_text("raise MemoryError('out of memory')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(DramError, match=r"LiteDRAM cannot generate a controller \(MemoryError: out of memory\)"):
        generate_core({}, "broken")
