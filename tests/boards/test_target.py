# amaranth: UnusedElaboratable=no
"""`--board` of `generate` and `pack`: the backend is the board's, and the preset unless another one is given."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("amaranth_boards")
pytest.importorskip("serial")

from boards import BOARDS, board
from hw.contract.config import ConfigError
from sw.__main__ import main
from sw.links.mmap import UIO_NAME
from tests.sw.links.test_serial import DEMO, PtyBoard, pty_board

__all__ = ["pty_board"]

GENERATE = ["generate", str(DEMO), "--prompt", "A"]


@pytest.mark.parametrize("arguments, sentence", [
    (["--board", "ulx3s", "--backend", "serial"],
     "--board ulx3s sets backend serial: leave out --backend"),
    (["--board", "kv260", "--preset", "tiny"],
     "preset tiny has ports = 1, but the memory of board kv260 needs 4: set ports to 4"),
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
    assert main(["pack", str(DEMO), "-o", str(one), "--board", "ulx3s", "--preset", "tiny"]) == 0
    assert main(["pack", str(DEMO), "-o", str(two), "--preset", "tiny"]) == 0
    assert one.read_bytes() == two.read_bytes()
    assert main(["pack", str(DEMO), "-o", str(one), "--board", "ulx3s", "--preset", "medium"]) == 2
    assert "preset medium has port_bits = 128, but the memory of board ulx3s needs 64" in capsys.readouterr().err


def test_another_preset_on_a_board(tmp_path: Path) -> None:
    """Its build has a folder of its own, whatever its name is; the board's own stays the board's."""
    ulx3s = board("ulx3s")
    own, wide = ulx3s.config, ulx3s.config.replace(columns=1)
    assert ulx3s.with_config(own) is ulx3s
    other = ulx3s.with_config(wide)
    assert (ulx3s.folder, other.folder, other.config) == ("ulx3s", f"ulx3s-{wide.build_id:016x}", wide)
    with pytest.raises(ConfigError, match="address_bits = 36, but the memory of board ulx3s needs 40"):
        ulx3s.with_config(own.replace(address_bits=36))
