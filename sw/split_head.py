"""The split head as the host sees it: who asks for it, whether an image has it, and what the machine counts of it."""

from __future__ import annotations

from dataclasses import dataclass

from hw.contract.high_plane import GUARD_BITS, guard
from sw.errors import JobError
from sw.model_plan import ModelPlan

__all__ = ["HEADS", "HeadCounts", "check_guard", "guard_of"]

HEADS = ("full", "split")
"""How greedy tokens are chosen: full, from the int8 head; split, from its high plane and the rows that can be best."""

DEVIATIONS = 8
"""Standard deviations of GUARD: a token differs from that of the full head with a probability of at most 3.2e-9 for
128,256 rows (docs/numerics.md, 7.2)."""


@dataclass(frozen=True)
class HeadCounts:
    """Values of the registers with these names in lower case (docs/registers.md), of a run or the sum over several."""

    rows_listed: int = 0
    rows_rescored: int = 0
    heads_repeated: int = 0

    def __add__(self, other: HeadCounts) -> HeadCounts:
        return HeadCounts(self.rows_listed + other.rows_listed, self.rows_rescored + other.rows_rescored,
                          self.heads_repeated + other.heads_repeated)


def guard_of(head: str) -> int:
    """Value of GUARD for one of HEADS. Raises JobError for another text."""
    if head not in HEADS:
        raise JobError(f"head must be {' or '.join(HEADS)}, not {head[:40]!r}")
    return guard(DEVIATIONS) if head == "split" else 0


def check_guard(value: int, plan: ModelPlan, image: str = "the image") -> None:
    """Check that a machine with this plan's image takes the value of GUARD. `image` names it in the message.

    Raises JobError: the head of the image is full, or the register has too few bits.
    """
    if not 0 <= value < 1 << GUARD_BITS:
        raise JobError(f"guard must be 0 to {(1 << GUARD_BITS) - 1}, not {value}")
    if value and not plan.config.candidates:
        raise JobError(f"preset {plan.config.name} has no split head: use a preset with candidates, and an image that "
                       "was packed with --head split, or a full head")
    if value and not plan.split:
        raise JobError(f"the head of {image} is full, not split: pack it for preset {plan.config.name} with "
                       "`bitnet-fpga pack --head split`, or use a full head")
