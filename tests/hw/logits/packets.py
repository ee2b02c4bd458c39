"""Payloads of LM_HEAD packets for the tests, made from rows and scales."""

import numpy as np

from hw.contract.config import AccelConfig, ceil_div


def head_payload(config: AccelConfig, rows: np.ndarray, scales: np.ndarray, padding: int = 0) -> list[list[int]]:
    """Beats as lists of bytes; `padding` is the byte behind the end of a row and in rows and scales behind the last."""
    (m, k), beat = rows.shape, config.beat_bytes
    group, row_beats = beat // 4, ceil_div(k, beat)
    beats = []
    for first in range(0, m, group):
        words = np.full(beat, padding, dtype=np.uint8)
        part = scales[first : first + group].astype("<f4").view(np.uint8)
        words[: len(part)] = part
        beats.append(words.tolist())
        for row in range(first, first + group):
            data = np.full(row_beats * beat, padding, dtype=np.uint8)
            if row < m:
                data[:k] = rows[row].astype(np.int8).view(np.uint8)
            beats += data.reshape(-1, beat).tolist()
    return beats
