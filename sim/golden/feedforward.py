"""Gated FFN activation. This file is section 6 of docs/numerics.md; hw/feedforward is its twin."""

from __future__ import annotations

import numpy as np

from sim.golden.number import Array, rnd

__all__ = ["gated_relu2"]


def gated_relu2(gate: Array, up: Array) -> Array:
    """relu(gate)^2 * up, elementwise, two roundings."""
    g = np.maximum(gate, 0.0)
    return rnd(rnd(g * g) * up)
