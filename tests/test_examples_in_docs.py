"""The Python of the documentation runs, and prints what the documentation says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.sw.chat.chat_model import write_chat_model

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n+^```text\n(.*?)^```$)?", re.M | re.S)
"""A program and what it prints, if the page says so."""


@pytest.fixture
def _models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with the demo model, and one that has a chat template."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "shakespeare-nano").symlink_to(ROOT / "models" / "shakespeare-nano")
    (tmp_path / "models" / "chat").mkdir()
    write_chat_model(tmp_path / "models" / "chat")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_models")
@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_examples(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The blocks of a page run one after the other, as one program."""
    text = (ROOT / page).read_text()
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == text.count("```python\n") > 0
    names: dict[str, object] = {}
    for block in blocks:
        line = text[: block.start()].count("\n") + 2
        exec(compile("\n" * (line - 1) + block[1], page, "exec"), names)
        printed = capsys.readouterr().out
        if block[2] is not None:
            assert printed.splitlines() == block[2].splitlines(), f"{page}, line {line}"
