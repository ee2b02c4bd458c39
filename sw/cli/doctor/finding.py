"""Result of one check of `doctor`."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding", "HostFinding"]


@dataclass(frozen=True)
class Finding:
    """Result of one check. `text` says what was measured, or what is wrong."""

    check: str
    ok: bool
    text: str


@dataclass(frozen=True)
class HostFinding(Finding):
    """Result of one check of the host computer. `text` is empty if the item is missing.

    Attributes, in addition to those of `Finding`:
        needed_for: commands that need the item.
        remedy: what to do if the item is missing or wrong.
        required: true if `bitnet-fpga generate` on the golden model needs the item. Other items are optional.
    """

    needed_for: str
    remedy: str
    required: bool = False

    @property
    def state(self) -> str:
        """`ok`, `wrong` or `missing`."""
        return "ok" if self.ok else "wrong" if self.text else "missing"
