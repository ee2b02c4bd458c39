"""The record of bitstreams: a board that was built replaces its own, the others stay."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from boards import results
from boards.results import PAGE, RESULT, main
from boards.results import results as page
from hw.contract.config import ConfigError

ROOT = Path(__file__).parents[2]


def test_the_page_is_that_of_the_record() -> None:
    assert page([*json.loads((ROOT / RESULT).read_text()).values()]) == (ROOT / PAGE).read_text()


def test_a_build_replaces_its_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = json.loads((ROOT / RESULT).read_text())
    known["ulx3s"]["made"] = "before"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(results, "RESULT", tmp_path / "boards.json")
    monkeypatch.setattr(results, "PAGE", tmp_path / "boards.md")
    (tmp_path / "boards.json").write_text(json.dumps({name: known[name] for name in ("ecpix5", "ulx3s")}))
    with pytest.raises(ConfigError, match="no board has been built here"):
        main()
    built = {name: value for name, value in known["ulx3s"].items() if name != "made"} | {"seed": 77}
    (tmp_path / "build" / "ulx3s").mkdir(parents=True)
    (tmp_path / "build" / "ulx3s" / "report.json").write_text(json.dumps(built))
    main()
    found = json.loads((tmp_path / "boards.json").read_text())
    assert [*found] == ["ulx3s", "ecpix5"]
    assert found["ecpix5"] == known["ecpix5"]
    assert found["ulx3s"]["seed"] == 77
    assert found["ulx3s"]["made"] != "before"
    assert (tmp_path / "boards.md").read_text() == page([*found.values()])
