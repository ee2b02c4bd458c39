"""The rows in the payloads of the LM head and of its high plane, as the hardware reads them (docs/isa.md)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hw.contract.head_layout import HeadLayout
from hw.contract.high_plane import HighPlane
from hw.contract.machine_float import FLOAT_BITS
from sim.golden.number import Array, decode

__all__ = ["head_rows", "high_rows"]

WORD_BITS = 32
"""Of a scale in memory, whose upper bits are a machine float."""


def head_rows(layout: HeadLayout, payload: NDArray[np.uint8]) -> tuple[NDArray[np.int8], Array]:
    """int8 rows [vocab, hidden] and their scales [vocab]."""
    ports = layout.config.ports
    beats = payload.reshape(layout.groups, layout.group_beats, ports, -1)
    words = np.ascontiguousarray(beats[:, 0]).view("<u4").swapaxes(1, 2).ravel()[: layout.vocab]
    scales = decode(words >> np.uint32(WORD_BITS - FLOAT_BITS))
    rows = beats[:, 1:].reshape(layout.groups, layout.port_rows, layout.row_beats, ports, -1)
    codes = rows.swapaxes(2, 3).reshape(layout.groups * layout.group_rows, -1)[: layout.vocab, : layout.hidden]
    return codes.view(np.int8), scales


def high_rows(
    plane: HighPlane, payload: NDArray[np.uint8]
) -> tuple[NDArray[np.int8], NDArray[np.int8], Array]:
    """Codes of four bits [vocab, hidden], STEP - dither [hidden], and the scales [vocab]."""
    complements, _ = head_rows(plane.dither, payload[: plane.dither.payload_bytes])
    packed, scales = head_rows(plane.packed, payload[plane.dither.payload_bytes :])
    pairs = packed.reshape(plane.vocab, plane.row_beats, 1, plane.config.beat_bytes)
    codes = np.concatenate([pairs << 4 >> 4, pairs >> 4], axis=2).reshape(plane.vocab, -1)[:, : plane.hidden]
    return codes, complements[0], scales
