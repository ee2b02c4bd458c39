"""Bounds that units declare beside their signals: the largest and the smallest value of an integer.

A unit calls `bounded` in `elaborate` with the platform that it was given. The platform `Bounds` collects these
declarations; with any other platform, in a simulation or for synthesis, a declaration does nothing, and it never adds
logic. `hw/bounds.py` elaborates the machine with `Bounds` and writes the table of docs/numerics.md, section 8;
tests/hw/test_bounds.py checks that every signal is wide enough.
"""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Shape, Value, ValueLike

from hw.watch import Synthesis

__all__ = ["Bound", "Bounds", "bounded"]


@dataclass(frozen=True)
class Bound:
    """The values of an integer.

    Attributes:
        what: its name, for the table.
        formula: the largest magnitude as a formula of the configuration, for the table.
        most, least: the largest and the smallest value; what can be negative needs a signed signal.
    """

    what: str
    formula: str
    most: int
    least: int = 0

    @property
    def bits(self) -> int:
        """Narrowest width that holds all values, with the sign where there is one."""
        signed = self.least < 0
        return max(self.most.bit_length(), (-self.least - 1).bit_length() if signed else 0) + signed

    def fits(self, shape: Shape) -> bool:
        """Whether a signal of that shape holds all values."""
        if self.least < 0:
            return shape.signed and shape.width >= self.bits
        return shape.width >= self.bits + shape.signed


class Bounds(Synthesis):
    """The platform that collects what `bounded` declares, for the hardware of synthesis.

    Attributes:
        shapes: each bound in the order of elaboration, with the shapes of the signals for which it was declared.
    """

    def __init__(self) -> None:
        self.shapes: dict[Bound, set[Shape]] = {}
        self._known: dict[str, Bound] = {}

    def add(self, bound: Bound, shape: Shape) -> None:
        """A bound of one more signal. Raises ValueError if its name stands for another bound already."""
        known = self._known.setdefault(bound.what, bound)
        if known != bound:
            raise ValueError(f"two bounds are called {bound.what!r}, {known} and {bound}: give each its own name")
        self.shapes.setdefault(bound, set()).add(shape)

    def too_narrow(self) -> list[str]:
        """A sentence for every signal that does not hold its bound."""
        return [
            f"{bound.what}: {bound.least}..{bound.most} does not fit {shape}"
            for bound, shapes in self.shapes.items() for shape in shapes if not bound.fits(shape)
        ]


def bounded(platform: object, value: ValueLike, what: str, formula: str, most: int, least: int = 0) -> None:
    """Declares that `value` stays within `least` to `most`; for an array, pass one element.

    The numbers come from the configuration and from docs/numerics.md, not from the width of the signal, which they
    check. Several units, and all instances of a unit, may declare the same bound.

    Args:
        what, formula: name and largest magnitude, for the table of docs/numerics.md.

    Raises:
        ValueError: the platform collects bounds, and `what` stands for another bound already.
    """
    if isinstance(platform, Bounds):
        platform.add(Bound(what, formula, most, least), Value.cast(value).shape())
