"""RoPE, KV cache and online softmax. This file is section 5 of docs/numerics.md; hw/attention is its twin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from hw.contract.config import BLOCK_POSITIONS, AccelConfig
from hw.contract.kv_layout import KvLayout
from sim.golden.number import Array, Codes, exponent, rnd, to_int

__all__ = ["KvHead", "attend_head", "exp2_codes", "quantize_kv", "quantize_query", "rope", "softmax_block"]

EXP2_TABLE = np.rint(2.0**17 * np.exp2(-np.arange(257) / 256)).astype(np.int64)
"""A_0..A_256; the hardware's table memory holds the same numbers."""

MAX_EXP2_CODE = 2**21 - 1

TOP_BIT = 16
"""A query code of the largest magnitude lies in 2^16..2^17, as does a weight of 1 times the largest value scale."""

OPERAND_LIMIT = 2**17 - 1


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
    codes = to_int(q * np.exp2(TOP_BIT - e)[:, None], OPERAND_LIMIT)
    return codes, rnd(softmax_scale * np.exp2(e - TOP_BIT))


def exp2_codes(d: Array) -> Codes:
    """2^-d with scale 2^-16 for machine floats d >= 0: 0..65536."""
    z = np.minimum(np.rint(d * 65536.0), MAX_EXP2_CODE).astype(np.int64)
    n, idx, frac = z >> 16, (z >> 8) & 255, z & 255
    value = 256 * EXP2_TABLE[idx] - (EXP2_TABLE[idx] - EXP2_TABLE[idx + 1]) * frac
    return (value + (1 << (8 + n))) >> (9 + n)


@dataclass(frozen=True)
class KvHead:
    """One (slot, layer, KV head) in the memory of all ports, as `KvLayout` lays it out. Position i of a block is
    (group, row, port) in `scales` and `keys`; element d of position i is (group of E, d // P, i mod E, d mod P)."""

    scales: NDArray[np.float32]  # [blocks, groups, q, P, 2]: key scale, value scale
    keys: NDArray[np.signedinteger]  # [blocks, groups, q, P, padded d]
    values: NDArray[np.signedinteger]  # [blocks, groups of E, d / P, E, P]
    head_dim: int

    @classmethod
    def view(cls, config: AccelConfig, memory: NDArray[np.uint8], head_dim: int) -> KvHead:
        """Over the bytes of one head in every port's area: [P, `KvLayout.head_bytes`]. They are not copied."""
        layout, beat = KvLayout(config, head_dim), config.beat_bytes
        ports, pairs = config.ports, config.kv_pairs
        blocks = memory.reshape(ports, -1, layout.block_bytes)  # a view: the bytes of a port are contiguous
        codes = np.dtype(np.int8 if config.kv_bits == 8 else np.int16)
        groups = BLOCK_POSITIONS // layout.group_positions

        def part(at: int, shape: tuple[int, ...], strides: tuple[int, ...], kind: np.dtype) -> NDArray:
            start = blocks[:, :, at : at + kind.itemsize].view(kind)
            return as_strided(start, (*blocks.shape[:2], *shape), (*blocks.strides[:2], *strides))

        group = layout.key_group_beats * beat
        row = layout.key_beats * beat
        scales = part(0, (groups, pairs, 2), (group, 8, 4), np.dtype(np.float32))
        keys = part(beat, (groups, pairs, row // codes.itemsize), (group, row, codes.itemsize), codes)
        words = layout.value_group_beats
        values = part(layout.keys_beats * beat, (BLOCK_POSITIONS // config.kv_elements, words, config.kv_elements),
                      (words * beat, beat, codes.itemsize), codes)
        return cls(np.moveaxis(scales, 0, 3), np.moveaxis(keys, 0, 3), np.moveaxis(values, 0, 4), head_dim)

    def append(self, position: int, key: Array, value: Array, kv_bits: int, unit: float = 0.0) -> None:
        """Quantise and store one rotated key row and one value row, whose elements are multiples of `unit`."""
        block, place = divmod(position, BLOCK_POSITIONS)
        _, _, pairs, ports, _ = self.keys.shape
        at = (block, place // (pairs * ports), place // ports % pairs, place % ports)
        self.keys[at] = 0
        self.keys[at][: self.head_dim], self.scales[at][0] = quantize_kv(key, kv_bits)
        codes, self.scales[at][1] = quantize_kv(value, kv_bits, unit if kv_bits == 16 else 0.0)
        elements = self.values.shape[3]
        self.values[block, place // elements, :, place % elements, :] = codes.reshape(-1, ports)

    def read(self, positions: int) -> tuple[Codes, Codes, Array]:
        """Key codes [n, d], value codes [n, d] and scales [n, 2] of the first n positions."""
        blocks = -(-positions // BLOCK_POSITIONS)
        keys = self.keys[:blocks, ..., : self.head_dim].reshape(-1, self.head_dim)[:positions]
        values = np.moveaxis(self.values[:blocks], 3, 2).reshape(-1, self.head_dim)[:positions]
        scales = self.scales[:blocks].reshape(-1, 2)[:positions]
        return keys.astype(np.int64), values.astype(np.int64), scales.astype(np.float64)


def softmax_block(
    scores: Array, value_scales: Array, running_max: Array, total: Array, first: bool
) -> tuple[Array, Codes, Codes, Array, Array]:
    """One block of the online softmax of G heads: scores [G, n] of n valid positions and their value scales [n].

    Returns alpha [G], weight codes [G, n], their exponent [G], and the new running maximum and total.
    """
    new_max = scores.max(axis=1) if first else np.maximum(running_max, scores.max(axis=1))
    p = exp2_codes(rnd(new_max[:, None] - scores))
    alpha = np.zeros(len(scores)) if first else exp2_codes(rnd(new_max - running_max)) / 65536.0
    total = rnd(rnd(total * alpha) + rnd(p.sum(axis=1)) / 65536.0)
    e = np.broadcast_to(exponent(value_scales.max()), len(scores))
    weights = to_int(rnd(p / 65536.0 * value_scales) * np.exp2(TOP_BIT - e)[:, None], OPERAND_LIMIT)
    return alpha, weights, e, new_max, total


def attend_head(q: Array, keys: Codes, values: Codes, scales: Array, softmax_scale: float) -> Array:
    """Rotated queries [G, d] of one token against the positions up to its own (see `KvHead.read`) -> [G, d]."""
    codes, qs = quantize_query(q, softmax_scale)
    group, d = q.shape
    running_max, total, acc = np.zeros(group), np.zeros(group), np.zeros((group, d))
    for start in range(0, len(keys), BLOCK_POSITIONS):
        block = slice(start, start + BLOCK_POSITIONS)
        scores = rnd(rnd(codes @ keys[block].T) * rnd(qs[:, None] * scales[block, 0]))
        alpha, weights, e, running_max, total = softmax_block(scores, scales[block, 1], running_max, total, start == 0)
        out = rnd(rnd(weights @ values[block]) * np.exp2(e - TOP_BIT)[:, None])
        acc = rnd(rnd(acc * alpha[:, None]) + out)
    return rnd(acc * rnd(1.0 / total)[:, None])
