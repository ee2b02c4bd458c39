"""What `doctor` says of one thing."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding", "HostFinding"]


@dataclass(frozen=True)
class Finding:
    """Result of a check: what was seen, or what is wrong."""

    check: str
    ok: bool
    text: str


@dataclass(frozen=True)
class HostFinding(Finding):
    """Something of the computer that this runs on; `text` is empty where it is not there.

    Attributes, besides:
        needed_for: commands that need it.
        remedy: what to do where it is missing or wrong.
        required: `bitnet-fpga generate` on the golden model needs it; without anything else some commands work.
    """

    needed_for: str
    remedy: str
    required: bool = False

    @property
    def state(self) -> str:
        """In a word."""
        return "ok" if self.ok else "wrong" if self.text else "missing"
