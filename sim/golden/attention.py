"""RoPE, KV cache and online softmax. This file is section 5 of docs/numerics.md; hw/attention is its twin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw.contract.config import BLOCK_POSITIONS, AccelConfig
from sim.golden.number import Array, Codes, exponent, rnd, to_int

__all__ = ["KvHead", "attend_head", "exp2_codes", "quantize_kv", "quantize_query", "rope", "softmax_block"]

EXP2_TABLE = np.rint(2.0**17 * np.exp2(-np.arange(257) / 256)).astype(np.int64)
"""A_0..A_256; the hardware's table memory holds the same numbers."""

MAX_EXP2_CODE = 2**21 - 1


def rope(x: Array, cos: Array, sin: Array) -> Array:
    """Rotate-half of x [..., d] with cos, sin [d/2] of the row's position."""
    half = x.shape[-1] // 2
    low, high = x[..., :half], x[..., half:]
    return np.concatenate(
        [rnd(rnd(low * cos) - rnd(high * sin)), rnd(rnd(high * cos) + rnd(low * sin))], axis=-1
    )


def quantize_kv(x: Array, kv_bits: int, unit: float = 0.0) -> tuple[Codes, float]:
    """Codes [d] and the value of one code, for one key or value row.

    A row of multiples of `unit` is coded in units, as long as 14 bits hold them; without a unit, by its absmax.
    """
    limit = 2 ** (kv_bits - 1) - 1
    top = np.abs(x).max()
    if unit:
        shift = max(0, int(exponent(top) - exponent(unit)) - (kv_bits - 2))
        return to_int(x * rnd(rnd(1 / unit) * 2.0**-shift), limit), float(rnd(unit * 2.0**shift))
    inverse = rnd(limit / top) if top else 0.0
    return to_int(x * inverse, limit), float(rnd(top * rnd(1 / limit)))


def quantize_query(q: Array, softmax_scale: float) -> tuple[Codes, Array]:
    """Codes [G, d] of rotated queries and the scale [G] that turns their dot products into the log2 domain."""
    e = exponent(np.abs(q).max(axis=1))
    return to_int(q * np.exp2(14.0 - e)[:, None], 32767), rnd(softmax_scale * np.exp2(e - 14.0))


def exp2_codes(d: Array) -> Codes:
    """2^-d with scale 2^-16 for machine floats d >= 0: 0..65536."""
    z = np.minimum(np.rint(d * 65536.0), MAX_EXP2_CODE).astype(np.int64)
    n, idx, frac = z >> 16, (z >> 8) & 255, z & 255
    value = 256 * EXP2_TABLE[idx] - (EXP2_TABLE[idx] - EXP2_TABLE[idx + 1]) * frac
    return (value + (1 << (8 + n))) >> (9 + n)


@dataclass(frozen=True)
class KvHead:
    """Views of one (slot, layer, KV head) of cache memory, as it lies there: [blocks, 16, ...]."""

    scales: NDArray[np.float32]  # [blocks, 16, 2]: key scale, value scale
    keys: NDArray[np.signedinteger]  # [blocks, 16, d]
    values: NDArray[np.signedinteger]

    @classmethod
    def view(cls, config: AccelConfig, memory: NDArray[np.uint8], head_dim: int) -> KvHead:
        """Over the bytes of one head: a whole number of blocks."""
        blocks = memory.reshape(-1, config.kv_block_bytes(head_dim))
        codes = np.int8 if config.kv_bits == 8 else np.int16
        split = BLOCK_POSITIONS * 8
        size = BLOCK_POSITIONS * head_dim * config.kv_bytes
        shape = (len(blocks), BLOCK_POSITIONS, -1)
        return cls(
            blocks[:, :split].view(np.float32).reshape(shape),
            blocks[:, split : split + size].view(codes).reshape(shape),
            blocks[:, split + size :].view(codes).reshape(shape),
        )

    def append(self, position: int, key: Array, value: Array, kv_bits: int, unit: float = 0.0) -> None:
        """Quantise and store one rotated key row and one value row, whose elements are multiples of `unit`."""
        b, i = divmod(position, BLOCK_POSITIONS)
        self.keys[b, i], self.scales[b, i, 0] = quantize_kv(key, kv_bits)
        self.values[b, i], self.scales[b, i, 1] = quantize_kv(value, kv_bits, unit if kv_bits == 16 else 0.0)


def softmax_block(
    scores: Array, value_scales: Array, running_max: Array, total: Array, first: bool
) -> tuple[Array, Codes, Codes, Array, Array]:
    """One block of the online softmax of G heads: scores [G, n] of n valid positions and their value scales [n].

    Returns alpha [G], weight codes [G, n], their exponents [G], and the new running maximum and total.
    """
    new_max = scores.max(axis=1) if first else np.maximum(running_max, scores.max(axis=1))
    p = exp2_codes(rnd(new_max[:, None] - scores))
    alpha = np.zeros(len(scores)) if first else exp2_codes(rnd(new_max - running_max)) / 65536.0
    total = rnd(rnd(total * alpha) + rnd(p.sum(axis=1)) / 65536.0)
    w = rnd(p / 65536.0 * value_scales)
    e = exponent(w.max(axis=1))
    return alpha, to_int(w * np.exp2(14.0 - e)[:, None], 32767), e, new_max, total


def attend_head(q: Array, cache: KvHead, position: int, softmax_scale: float) -> Array:
    """Rotated queries [G, d] of one token against positions 0..position of their KV head -> [G, d]."""
    q16, qs = quantize_query(q, softmax_scale)
    group, d = q.shape
    running_max, total, acc = np.zeros(group), np.zeros(group), np.zeros((group, d))
    for b in range(position // BLOCK_POSITIONS + 1):
        n = min(BLOCK_POSITIONS, position + 1 - b * BLOCK_POSITIONS)
        scales = cache.scales[b, :n].astype(np.float64)
        dots = q16 @ cache.keys[b, :n].astype(np.int64).T
        scores = rnd(rnd(dots) * rnd(qs[:, None] * scales[:, 0]))
        alpha, w16, e, running_max, total = softmax_block(scores, scales[:, 1], running_max, total, b == 0)
        out = rnd(rnd(w16 @ cache.values[b, :n].astype(np.int64)) * np.exp2(e - 14.0)[:, None])
        acc = rnd(rnd(acc * alpha[:, None]) + out)
    return rnd(acc * rnd(1.0 / total)[:, None])
