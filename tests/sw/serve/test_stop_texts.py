"""Stop texts, cut in every way into pieces."""

from __future__ import annotations

from itertools import combinations

import pytest

from sw.serve.stop_texts import StopTexts


def passed(stops: list[str], pieces: list[str]) -> tuple[str, bool]:
    """What is shown of pieces, up to the stop text."""
    texts, shown = StopTexts(stops), ""
    for piece in pieces:
        part, stopped = texts.add(piece)
        shown += part
        if stopped:
            return shown, True
    return shown + texts.end(), False


@pytest.mark.parametrize(("stops", "text", "expected", "stopped"), [
    (["zxyz"], "abzxyzcd", "ab", True),
    (["zxyz"], "abzxzxyzz", "abzx", True),
    (["zxyz"], "abzxy", "abzxy", False),
    (["zz", "x"], "azxb", "az", True),
    (["\u20ac!"], "a\u20ac\u20ac!", "a\u20ac", True),
    ([""], "abc", "abc", False),
    ([], "abc", "abc", False),
])
def test_however_the_text_is_cut(stops: list[str], text: str, expected: str, stopped: bool) -> None:
    for count in range(len(text)):
        for cuts in combinations(range(1, len(text)), count):
            pieces = [text[a:b] for a, b in zip((0, *cuts), (*cuts, len(text)), strict=True)]
            assert passed(stops, pieces) == (expected, stopped)


def test_what_cannot_become_a_stop_text_is_shown_at_once() -> None:
    texts = StopTexts(["###"])
    assert texts.add("text") == ("text", False)
    assert texts.add("#") == ("", False)
    assert texts.add("x") == ("#x", False)
