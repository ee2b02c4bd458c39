"""The record of `make area`: what is marked as a rise, and the page that is written from it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from boards import area
from boards.area import PAGE, RESULT, TARGETS, UNITS, changes, main, page


def test_changes() -> None:
    before = {"LUT": 1000.0, "FF": 100.0, "DSP": 0.0, "URAM": 2.0}
    assert changes("unit", before, {**before}) == []
    found = changes("unit", before, {"LUT": 1030.0, "FF": 104.0, "DSP": 1.0, "URAM": 1.0})
    assert [("<--" in line) for line in found] == [False, True, True, False]
    assert found[0] == "unit: LUT 1,000 -> 1,030 (+3.0%)"
    assert found[1].startswith("unit: FF 100 -> 104 (+4.0%)  <-- ")
    assert found[2].startswith("unit: DSP 0 -> 1 (new)  <-- ")


def test_the_page_is_that_of_the_record() -> None:
    assert page(json.loads(RESULT.read_text())) == PAGE.read_text()


def test_a_sum_needs_every_unit() -> None:
    record = json.loads(RESULT.read_text())
    assert record.keys() <= TARGETS.keys()
    assert record["kv260"].keys() == UNITS.keys()
    lut = sum(unit["used"]["LUT"] for unit in record["kv260"].values())
    assert f"| **sum** | {lut:,.0f} |" in page(record)
    del record["kv260"]["dots"]
    assert f"| **sum** | {lut:,.0f} |" not in page(record)
    assert "not measured" in page(record)


def test_a_unit_is_measured_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    title = "ulx3s"
    record, written = tmp_path / "area.json", tmp_path / "area.md"
    monkeypatch.setattr(area, "RESULT", record)
    monkeypatch.setattr(area, "PAGE", written)
    monkeypatch.setattr(sys, "argv", ["area", "--target", title, "rope_rows"])
    main()
    assert capsys.readouterr().out == f"{title}: rope_rows: measured for the first time\n"
    found = json.loads(record.read_text())
    assert found[title]["rope_rows"]["used"]["LUT"] > 100
    assert "depth" not in found[title]["rope_rows"]
    assert f"## `{title}`" in written.read_text()
    main()
    assert capsys.readouterr().out == f"{title}: rope_rows: as before\n"
    found[title]["rope_rows"]["used"]["LUT"] /= 2
    record.write_text(json.dumps(found))
    main()
    assert "(+100.0%)  <-- say why in the commit" in capsys.readouterr().out


def test_an_unknown_unit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["area", "roper"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "there is no unit 'roper': use registers, " in capsys.readouterr().err
