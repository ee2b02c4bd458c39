"""The memories of attention that one unit writes while another reads: they have two banks, one for each."""

from __future__ import annotations

from typing import Any

from amaranth.lib import memory

__all__ = ["banked_memory"]


def banked_memory(shape: Any, depth: int, **attributes: str) -> memory.Memory:
    """A memory of which nobody uses what is read in a clock in which the same word is written. Yosys adds no logic for
    that case."""
    return memory.Memory(shape=shape, depth=depth, init=[], attrs={"no_rw_check": 1, **attributes})
