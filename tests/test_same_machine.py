"""The comparison of `make same` finds what differs; the runs themselves are not made here."""

from __future__ import annotations

import json

import pytest

from tools import same_machine

RUN = {"tokens": [[1, 2]], "logits": "ab", "runs": [{"cycles": 9, "counters": {"stream_busy": 4}}]}

CHANGES = {
    "nothing": (RUN, []),
    "a clock": (RUN | {"runs": [{"cycles": 10, "counters": {"stream_busy": 4}}]},
                ["x: runs[0]: cycles: 9 before, 10 now"]),
    "a counter": (RUN | {"runs": [{"cycles": 9, "counters": {"stream_busy": None}}]},
                  ["x: runs[0]: counters: stream_busy: 4 before, None now"]),
    "a token more": (RUN | {"tokens": [[1, 2, 3]]}, ["x: tokens[0]: [1, 2] before, [1, 2, 3] now"]),
    "a field that is gone": ({"tokens": [[1, 2]], "logits": "ab"}, ["x: runs: [{'cycles': 9, "]),
}


@pytest.mark.parametrize(("now", "lines"), CHANGES.values(), ids=CHANGES)
def test_differences(now: object, lines: list[str]) -> None:
    found = list(same_machine.differences("x", RUN, now))
    assert len(found) == len(lines)
    assert all(line.startswith(start) for line, start in zip(found, lines, strict=True))


def test_the_record_is_of_all(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every preset, model, seed and way has an entry, and a change of one is exit code 4."""
    record = json.loads(same_machine.RECORD.read_text())["found"]
    assert len(record) == 5 * 2 * (1 + 2 * 4) + 3
    monkeypatch.setattr(same_machine, "found", lambda names: dict(record))
    assert same_machine.main(["compare"]) == 0
    monkeypatch.setattr(same_machine, "found", lambda names: record | {"tiny, area": {}})
    assert same_machine.main(["compare", "tiny"]) == 4
    assert "tiny, area" in capsys.readouterr().out
