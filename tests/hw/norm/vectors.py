"""Configurations and vectors for the tests of this folder."""

from __future__ import annotations

import numpy as np

from hw.contract.config import AccelConfig
from sim.golden.number import Array, encode, rnd

CONFIGS = {
    "scalar": AccelConfig(name="scalar", vector=1, columns=1, max_hidden=160, max_intermediate=160),
    "pair": AccelConfig(name="pair", vector=2, columns=3, max_hidden=160, max_intermediate=160),
    "quad": AccelConfig(name="quad", vector=4, rows=4, inputs=10, columns=2, max_hidden=160, max_intermediate=160),
    "wide": AccelConfig(name="wide", port_bits=128, vector=4, rows=8, inputs=10, columns=4, max_hidden=160,
                        max_intermediate=160),
}
"""Every V; Q is 2 V in `pair` and `wide`. In `quad` and `wide` the array's words are no multiple of it."""


def bf16(values: Array) -> Array:
    """Nearest to zero bf16 of each value."""
    words = np.asarray(values, dtype=np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    return words.view(np.float32).astype(np.float64)


def random_vector(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> Array:
    """Normal machine floats with some zeros."""
    return rnd(rng.normal(size=shape) * scale * (rng.random(shape) > 0.05))


def split(values: Array, lanes: int) -> list[list[float]]:
    """A vector as words of `lanes` values, the last padded with zeros."""
    padded = np.zeros(-(-len(values) // lanes) * lanes)
    padded[: len(values)] = values
    return padded.reshape(-1, lanes).tolist()


def for_quantizer(values: Array, config: AccelConfig) -> list[list[int]]:
    """Codes of a vector as a read port of Quantize returns them: Q at a time, from every word of V on."""
    width, lanes = config.vector, config.quantize_lanes
    padded = np.append(encode(values), np.zeros(2 * lanes, dtype=np.int64))
    return [padded[at : at + lanes].tolist() for at in range(0, len(values), width)]
