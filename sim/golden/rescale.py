"""Sums of the array become floats. This file is section 4 of docs/numerics.md; hw/array/rescale.py is its twin."""

from __future__ import annotations

from sim.golden.number import Array, Codes, rnd

__all__ = ["rescale"]


def rescale(sums: Codes, factor: Array) -> Array:
    """F(sum) * factor, two roundings: sums [T, M], one factor per column [T]."""
    return rnd(rnd(sums) * factor[:, None])
