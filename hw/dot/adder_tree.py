"""Pipelined sum of many numbers, one result per clock, for the array and the dot engine."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Module, Signal, Value

__all__ = ["pipelined_tree"]


def pipelined_tree(m: Module, terms: Sequence[Value]) -> Value:
    """Sum of `terms` by a binary tree with a register after each level: ceil_log2(len(terms)) clocks.

    Every node is exactly one bit wider than its wider input.
    """
    level = list(terms)
    while len(level) > 1:
        following = []
        for n in range(0, len(level), 2):
            total = level[n] + level[n + 1] if n + 1 < len(level) else level[n]
            node = Signal(total.shape())
            m.d.sync += node.eq(total)
            following.append(node)
        level = following
    return level[0]
