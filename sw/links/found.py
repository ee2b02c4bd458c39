"""Results of a search for accelerators."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Found", "Identity"]


@dataclass(frozen=True)
class Identity:
    """Identity that an accelerator reports.

    Attributes:
        build_id: build ID of its configuration.
        clock_hz: clock frequency; None if the link does not report it.
        memory_bytes: bytes of memory that the host may use; None if the link does not report it.
    """

    build_id: int
    clock_hz: int | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Found:
    """A port or device where an accelerator may be.

    Attributes:
        at: name of the port or device.
        identity: identity of the accelerator; None if nothing answers.
        problem: a sentence that says why nothing answers.
    """

    at: str
    identity: Identity | None = None
    problem: str = ""
