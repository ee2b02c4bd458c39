# amaranth: UnusedElaboratable=no
"""Every board's design is complete: it elaborates to the same files every time, with nothing that is not hardware."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

pytest.importorskip("litedram")

from boards import BOARDS, board
from boards.board import Board
from boards.open_ecp5 import plan
from boards.soc import Soc


@pytest.mark.parametrize("name", [
    name if name == "ulx3s-bram" else pytest.param(name, marks=pytest.mark.long)
    for name in BOARDS if isinstance(board(name), Board)
])
def test_elaborates(name: str) -> None:
    plans = [plan(board(name), Soc(board(name))) for _ in range(2)]
    assert plans[0].digest() == plans[1].digest()
    text = plans[0].files["top.il"]
    assert str(Path(__file__).parents[2]) not in text
    assert "$assert" not in text
    assert "$check" not in text
    assert "m_axi_0" in text
    refuse_memories_that_are_not_there(board(name), plans[0].files)


def refuse_memories_that_are_not_there(subject: Board, files: dict[str, str]) -> None:
    """Yosys is told of modules that are there and have memories; it would not complain of others."""
    parts = re.split(r"^module \\(\S+)\n", files["top.il"], flags=re.M)[1:]
    with_memories = [module for module, body in zip(parts[::2], parts[1::2], strict=True) if "\n  memory " in body]
    for pattern in (f"top.{memories}" for memories in subject.lut_memories):
        assert any(fnmatch(module, pattern) for module in with_memories), pattern
        assert f'setattr -set ram_style "distributed" {pattern}/m:*\n' in files["top.ys"]
