"""The option --head of the commands that pack a model or run it."""

from __future__ import annotations

import enum

__all__ = ["Head"]


class Head(enum.Enum):
    """How greedy tokens are chosen: those of `sw.split_head.HEADS`."""

    FULL = "full"
    SPLIT = "split"
