"""Stop texts: an answer ends before the first of them, also if several tokens write it."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["StopTexts"]


class StopTexts:
    """Passes a text on, piece by piece, and holds back its end as long as that may become a stop text."""

    def __init__(self, stops: Sequence[str]) -> None:
        """Empty stop texts are ignored."""
        self._stops = tuple(stop for stop in stops if stop)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""

    def add(self, text: str) -> tuple[str, bool]:
        """The text that can be shown, and whether a stop text follows it; then nothing more may be added."""
        held = self._held + text
        found = min((at for stop in self._stops if (at := held.find(stop)) >= 0), default=None)
        if found is not None:
            self._held = ""
            return held[:found], True
        shown = len(held) - self._may_become_one(held)
        self._held = held[shown:]
        return held[:shown], False

    def end(self) -> str:
        """The text that was held back, at the end of the answer."""
        held, self._held = self._held, ""
        return held

    def _may_become_one(self, text: str) -> int:
        """Characters at the end of a text with which a stop text begins."""
        for size in range(min(len(text), self._longest - 1), 0, -1):
            if any(stop.startswith(text[-size:]) for stop in self._stops):
                return size
        return 0
