"""The packing of five ternary weights into one byte. This file is the only place that knows the code.

A byte has three fields: `group` (bits 7 to 5), `signs` (4 and 3) and `pair` (2 to 0). `group` and `signs` select the
trits t0, t1, t2 of `THREE`, `pair` selects t3, t4 of `PAIR`. `PAIR` has no room for two zeros: group 7 stands for them,
and then the group of the first three trits is in `pair`.

The code is made for the decoder. The sign of a trit that is not zero is a bit of the byte: bit 3 of t0, bit 4 of t1,
bit 2 of the group of t2, bit 0 of t3, bit 1 of t4. So the decoder takes nine LUTs for a byte, mostly for the group and
for whether each trit is zero; base-3 numbers with an escape take 33 (docs/decisions/0012). 243 of the 256 bytes are
used; the others are read by the same rules, with zeros where `THREE` has no entry.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DECODE", "ENCODE", "ESCAPE", "PAIR", "THREE", "TRITS_PER_BYTE", "ZERO_BYTE", "decode_bytes", "encode_trits",
]

TRITS_PER_BYTE = 5
"""Weights in one byte."""

ESCAPE = 7
"""The group that means: t3 and t4 are zero, and the group is in `pair`."""

THREE = (
    "000", "00+", "0-+", "-00",  # group 0, signs 0 to 3
    "+00", "0+0", "0-0", "-0+",
    "+0+", "0++", "+-0", "--0",
    "+++", "-++", "+-+", "--+",
    "00-", "-+0", "0--", "-0-",
    "++0", "0+-", "+0-", "---",
    "++-", "-+-", "+--", "000",  # group 6; its last entry is not used
    "000", "000", "000", "000",  # group 7, only in `pair`: not used
)
"""[4 * group + signs]: t0, t1, t2."""

PAIR = ("0+", "-0", "+0", "0-", "++", "-+", "+-", "--")
"""[pair]: t3, t4."""

_VALUES = {"+": 1, "0": 0, "-": -1}


def _decode_one(byte: int) -> list[int]:
    group, signs, pair = byte >> 5, byte >> 3 & 3, byte & 7
    last = PAIR[pair]
    if group == ESCAPE:
        group, last = pair, "00"
    return [_VALUES[trit] for trit in THREE[4 * group + signs] + last]


DECODE: NDArray[np.int8] = np.array([_decode_one(byte) for byte in range(256)], dtype=np.int8)
"""[256, 5]: the trits t0 to t4 of every byte."""

_FIRST = {tuple(DECODE[byte].tolist()): byte for byte in reversed(range(256))}
ENCODE: NDArray[np.uint8] = np.array(
    [_FIRST[tuple(n // 3**position % 3 - 1 for position in range(TRITS_PER_BYTE))] for n in range(243)], dtype=np.uint8)
"""[243]: the byte of the base-3 number sum((t[i] + 1) * 3**i), the smallest where several decode to it."""

ZERO_BYTE = int(ENCODE[121])
"""The byte of five zeros; padding."""

_ENCODE_SUM = np.zeros(256, dtype=np.uint8)
_ENCODE_SUM[np.arange(-121, 122)] = ENCODE
"""[256]: the byte of the number sum(t[i] * 3**i), -121 to 121, modulo 256."""


def encode_trits(trits: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Bytes of an array of -1, 0, +1 whose last axis is a multiple of five; that axis becomes five times shorter."""
    if trits.shape[-1] % TRITS_PER_BYTE:
        raise ValueError(f"the last axis must be a multiple of {TRITS_PER_BYTE}, not {trits.shape[-1]}")
    if trits.size and (trits.min() < -1 or trits.max() > 1):
        raise ValueError(f"trits must be -1, 0 or 1, not {trits.min()} to {trits.max()}")
    digits = trits.astype(np.int8, copy=False).reshape(*trits.shape[:-1], -1, TRITS_PER_BYTE)
    total = digits[..., TRITS_PER_BYTE - 1].copy()
    for n in reversed(range(TRITS_PER_BYTE - 1)):
        total *= 3
        total += digits[..., n]
    return _ENCODE_SUM[total.view(np.uint8)]


def decode_bytes(packed: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Trits of an array of bytes; the last axis becomes five times longer."""
    return DECODE[packed].reshape(*packed.shape[:-1], packed.shape[-1] * TRITS_PER_BYTE)
