"""A link of which a test says what it does; the rest does nothing."""

from __future__ import annotations

from collections.abc import Generator

from sw.links.link import Link, RunStats, Step
from sw.requests import Request
from sw.scrub import Progress

__all__ = ["FakeLink"]


class FakeLink(Link):
    """Gives nothing, measures nothing."""

    def build(self) -> int:
        return self.config.build_id

    def load(self, progress: Progress) -> None:
        pass

    def run(self, request: Request) -> Generator[Step, None, None]:
        yield from ()

    def scrub(self, progress: Progress) -> None:
        pass

    @property
    def stats(self) -> RunStats | None:
        return None

    def close(self) -> None:
        pass
