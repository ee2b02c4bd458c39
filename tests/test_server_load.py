"""The load on a server, for a few seconds, and that it finds a text that is another one's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tools.server_load
from tools.server_load import DIFFERENT, main

SHORT = ["--clients", "4", "--seconds", "4"]


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_short_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools.server_load, "RESULT", tmp_path / "result.json")
    assert main(SHORT) == 0
    (record,) = json.loads((tmp_path / "result.json").read_text()).values()
    assert record["answers_compared"] >= 4
    assert record["clients"] == 4


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_difference_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Requests that are not what was sent alone stand for answers that are mixed."""
    whole, asked = tools.server_load.requests(), [0]

    def other() -> list[dict[str, object]]:
        asked[0] += 1
        return whole if asked[0] == 1 else whole[::-1]

    monkeypatch.setattr(tools.server_load, "RESULT", tmp_path / "result.json")
    monkeypatch.setattr(tools.server_load, "requests", other)
    assert main(SHORT) == DIFFERENT
    assert "is not the beginning of" in (said := capsys.readouterr().err) or "under load" in said
    assert not (tmp_path / "result.json").exists()
