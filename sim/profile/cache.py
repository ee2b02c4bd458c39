"""Contents of a KV cache for measurements: seeded keys and values at positions that were never fed."""

from __future__ import annotations

import numpy as np

from hw.contract.isa import Opcode
from sim.golden.machine import GoldenMachine

__all__ = ["fill_cache"]

SMALLEST, LARGEST = 0.1, 4.0
"""Magnitudes of the elements: as those of keys and values of a trained model, and none that becomes a code of 0."""


def fill_cache(machine: GoldenMachine, positions: int, seed: int) -> None:
    """Store random keys and values at positions 0 to `positions` - 1 of every layer and KV head, the same in all slots.

    The golden model stores them, as it stores those of tokens: so the layout of the cache is known there alone.
    """
    random, plan = np.random.default_rng(seed), machine.plan
    attends = [packet.operands for packet in plan.layer_packets if packet.opcode is Opcode.ATTEND]
    shape = plan.shape
    for operands in attends:
        for head in range(shape.kv_heads):
            first, *others = (machine._kv_head(operands, slot, head, shape.head_dim) for slot in range(shape.sequences))
            drawn = random.uniform(SMALLEST, LARGEST, (positions, 2, shape.head_dim))
            drawn *= random.choice((-1.0, 1.0), drawn.shape)
            for position, (key, value) in enumerate(drawn):
                first.append(position, key, value, plan.config.kv_bits)
            for other in others:
                for name, part in vars(other).items():
                    if isinstance(part, np.ndarray):
                        part[...] = getattr(first, name)
