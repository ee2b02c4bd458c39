# amaranth: UnusedElaboratable=no
"""Every board's design is complete: it elaborates to the same files every time, with nothing that is not hardware."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("litedram")

from boards import BOARDS, board
from boards.board import Board
from boards.build import plan
from boards.soc import Soc


@pytest.mark.parametrize("name", [name for name in BOARDS if isinstance(board(name), Board)])
def test_elaborates(name: str) -> None:
    plans = [plan(board(name), Soc(board(name))) for _ in range(2)]
    assert plans[0].digest() == plans[1].digest()
    text = plans[0].files["top.il"]
    assert str(Path(__file__).parents[2]) not in text
    assert "$assert" not in text
    assert "$check" not in text
    assert "m_axi_0" in text
