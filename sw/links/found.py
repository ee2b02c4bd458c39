"""What a search for accelerators finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Found"]


@dataclass(frozen=True)
class Found:
    """A place where an accelerator may be.

    Attributes:
        at: port or device, as people name it.
        identity: what it says of itself, with the names of a board's declaration: `build_id`, and `clock_hz` and
            `memory_bytes` where the link tells them. Empty where nothing answers.
        problem: why nothing answers, in one sentence.
    """

    at: str
    identity: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""
