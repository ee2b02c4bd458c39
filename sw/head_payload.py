"""Payloads of the packets of the LM head and of its high plane: rows in the order in which they lie there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hw.contract.config import ceil_div
from hw.contract.head_layout import HeadLayout
from hw.contract.high_plane import STEP, HighPlane, high_codes

__all__ = ["dither", "dither_group", "head_groups", "high_groups"]

DITHER_SEED = 17
"""Seed of the dither, the same for all images, so that packing a checkpoint again makes the same bytes. Any constant
does: the weights were not made with it in mind."""


def head_groups(layout: HeadLayout, codes: NDArray[np.integer], scales: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Rows of int8 codes [n, hidden] and the float32 bits of their scales [n] as whole groups, one behind the other."""
    groups, ports, rows = ceil_div(len(codes), layout.group_rows), layout.config.ports, layout.port_rows
    padded = np.zeros((groups * layout.group_rows, layout.row_beats * layout.config.beat_bytes), dtype=np.int8)
    padded[: len(codes), : layout.hidden] = codes
    words = np.zeros(len(padded), dtype="<u4")
    words[: len(scales)] = scales
    out = np.empty((groups, layout.group_beats, ports, layout.config.beat_bytes), dtype=np.uint8)
    out[:, 0] = np.ascontiguousarray(words.reshape(groups, rows, ports).swapaxes(1, 2)).view(np.uint8)
    by_port = padded.view(np.uint8).reshape(groups, rows, ports, layout.row_beats, -1).swapaxes(2, 3)
    out[:, 1:] = by_port.reshape(groups, layout.group_beats - 1, ports, -1)
    return out


def dither(hidden: int) -> NDArray[np.int8]:
    """The dither of each input, 0..16 with equal probability."""
    return np.random.default_rng(DITHER_SEED).integers(0, STEP, hidden, dtype=np.int8)


def dither_group(plane: HighPlane) -> NDArray[np.uint8]:
    """The first group of the high plane, whose row 0 is STEP - dither."""
    return head_groups(plane.dither, (STEP - dither(plane.hidden))[None], np.zeros(1, dtype=np.uint32))


def high_groups(plane: HighPlane, codes: NDArray[np.integer], scales: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Groups of the high plane behind the first one, of rows as `head_groups` has them."""
    padded = np.zeros((len(codes), plane.row_beats, 2, plane.config.beat_bytes), dtype=np.uint8)
    padded.reshape(len(codes), -1)[:, : plane.hidden] = high_codes(codes, dither(plane.hidden)).view(np.uint8) & 15
    packed = padded[:, :, 0] | padded[:, :, 1] << 4
    return head_groups(plane.packed, packed.reshape(len(codes), -1).view(np.int8), scales)
