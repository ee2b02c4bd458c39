"""`bitnet-fpga presets`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("amaranth_boards")

from hw.contract.config import PRESETS
from sw.__main__ import main


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["preset"] for row in rows] == list(PRESETS)
    assert {row["preset"]: row["boards"] for row in rows}["ulx3s"] == ["ulx3s", "ecpix5", "orangecrab"]
    assert main(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(PRESETS) + 1
    assert max(map(len, lines)) <= 80


def test_one_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets", "ulx3s-bram", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    boards = {one["board"]: one for one in found["boards"]}
    assert boards["ulx3s-bram"]["fits"]
    assert boards["ulx3s-bram"]["ram"]["DP16KD"]["available"] == 16
    assert "ports = 1, but the memory of board kv260 needs 4" in boards["kv260"]["why"]
    memories = found["memories"]
    assert memories["without_ultra_ram"]["block_ram_bits"] == sum(
        memories["with_ultra_ram"][name] for name in ("block_ram_bits", "ultra_ram_bits"))


def test_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It takes the ports of the small board, but more block RAM than its memory leaves."""
    path = tmp_path / "mine.toml"
    path.write_text('base = "ulx3s-bram"\nmax_intermediate = 2048\nstream_fifo_beats = 512\n')
    assert main(["presets", str(path)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("preset mine, build ")
    assert "ulx3s-bram  does not fit: DP16KD:" in text
    assert max(map(len, text.splitlines())) <= 80
    assert main(["presets", "none"]) == 2
    assert "no preset named 'none'" in capsys.readouterr().err
