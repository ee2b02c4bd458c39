# amaranth: UnusedElaboratable=no
"""Every board's design is complete: it elaborates to the same files every time, with nothing that is not hardware."""

from __future__ import annotations

import pytest

pytest.importorskip("litedram")

from boards import BOARDS, board
from boards.soc import Soc


@pytest.mark.parametrize("name", BOARDS)
def test_elaborates(name: str) -> None:
    plans = [board(name).platform().build(Soc(board(name)), name="top", do_build=False) for _ in range(2)]
    assert plans[0].digest() == plans[1].digest()
    text = plans[0].files["top.il"]
    text = text if isinstance(text, str) else text.decode()
    assert "$assert" not in text
    assert "$check" not in text
    assert "m_axi_0" in text
