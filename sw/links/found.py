"""What a search for accelerators finds."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Found", "Identity"]


@dataclass(frozen=True)
class Identity:
    """What a machine says of itself.

    Attributes:
        build_id: of its configuration.
        clock_hz: frequency of the machine; None where the link does not tell.
        memory_bytes: what the host may use; likewise.
    """

    build_id: int
    clock_hz: int | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Found:
    """A place where an accelerator may be.

    Attributes:
        at: port or device, as people name it.
        identity: of what answers there; None where nothing does.
        problem: why nothing answers, in one sentence.
    """

    at: str
    identity: Identity | None = None
    problem: str = ""
