# amaranth: UnusedElaboratable=no
"""`--board` of `generate` and `pack`: preset and backend come from the board, and from nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("amaranth_boards")
pytest.importorskip("serial")

from boards import BOARDS
from sw.__main__ import main
from sw.links.mmap import UIO_NAME
from tests.sw.links.test_serial import DEMO, PtyBoard, pty_board

__all__ = ["pty_board"]

GENERATE = ["generate", str(DEMO), "--prompt", "A"]


@pytest.mark.parametrize("arguments, sentence", [
    (["--board", "ulx3s", "--backend", "serial"],
     "--board ulx3s sets preset ulx3s and backend serial: leave out --backend"),
    (["--board", "kv260", "--preset", "tiny", "--backend", "golden"],
     "--board kv260 sets preset wide4 and backend mmap: leave out --preset and --backend"),
    (["--board", "kv260", "--port", "/dev/ttyUSB0"], "--port applies to --backend serial, not to mmap"),
    (["--board", "none"], f"there is no board 'none': use {', '.join(BOARDS)}"),
])
def test_what_a_board_decides_cannot_be_given(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*GENERATE, *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_the_board_is_asked(pty_board: PtyBoard, capsys: pytest.CaptureFixture[str]) -> None:
    """By the link that it has; one with another bitstream is told."""
    assert main([*GENERATE, "--board", "ulx3s", "--port", pty_board.name]) == 3
    assert "preset ulx3s is" in capsys.readouterr().err
    board = ["--board", "ulx3s-bram", "--port", pty_board.name]
    assert main([*GENERATE, *board]) == 2
    assert "the model's context is 256, but preset ulx3s-bram supports at most 128" in capsys.readouterr().err
    assert main([*GENERATE, *board, "--context", "128"]) == 3
    assert "preset ulx3s-bram is" in capsys.readouterr().err
    assert main([*GENERATE, "--board", "kv260"]) == 3
    assert f"there is no UIO device named {UIO_NAME}" in capsys.readouterr().err


def test_pack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(["pack", str(DEMO), "-o", str(one), "--board", "ulx3s"]) == 0
    assert main(["pack", str(DEMO), "-o", str(two), "--preset", "ulx3s"]) == 0
    assert one.read_bytes() == two.read_bytes()
    assert main(["pack", str(DEMO), "-o", str(one), "--board", "ulx3s", "--preset", "ulx3s"]) == 2
    assert "--board ulx3s sets preset ulx3s: leave out --preset" in capsys.readouterr().err
