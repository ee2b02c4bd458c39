"""Bytes of the KV cache that attention reads, from the rules of `RowControl` and `KvLayout`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hw.contract.config import ceil_div
from sw.model_plan import ModelPlan

__all__ = ["cache_bytes"]


def cache_bytes(plan: ModelPlan, passes: Iterable[Sequence[Sequence[int]]]) -> int:
    """A pass over the weights is the positions of its columns, for each slot: D query rows share what they read, the
    rows of the first columns first."""
    config, shape = plan.config, plan.shape
    group, beats = shape.heads // shape.kv_heads, 0
    for slots in passes:
        for positions in slots:
            rows = len(positions) * group
            for n in range(ceil_div(rows, config.query_rows)):
                last = min(rows, (n + 1) * config.query_rows) - 1
                beats += plan.kv_layout.read_beats(positions[last // group] + 1)
    return beats * shape.layers * shape.kv_heads * config.stream_bytes
