"""Check of every tensor of a checkpoint: errors that `pack` refuses, and values that are valid but implausible.

`pack` stops at the first tensor that it cannot use. This check continues, so that one run shows all problems.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sw.checkpoint import EMBEDDING, LM_HEAD, Checkpoint, to_bf16
from sw.doubts import SAMPLED_ROWS, Doubts
from sw.errors import CheckpointError
from sw.ternary import TritCounts, count_trits

__all__ = ["CheckResult", "check"]


@dataclass
class CheckResult:
    """Result of a check: `refused` has a sentence for each unusable tensor, `doubts` the implausible values."""

    tensors: int = 0
    refused: list[str] = field(default_factory=list)
    doubts: Doubts = field(default_factory=Doubts)


def check(checkpoint: Checkpoint, progress: Callable[[int, int], None] = lambda done, total: None) -> CheckResult:
    """Read and check all tensors of a checkpoint. `progress(done, total)` is called with bytes after each tensor."""
    result, done = CheckResult(), 0
    total = sum(info.nbytes for info in checkpoint.tensors.values())
    for name, info in checkpoint.tensors.items():
        try:
            _tensor(checkpoint, name, result.doubts)
        except CheckpointError as error:
            result.refused.append(str(error))
        result.tensors += 1
        done += info.nbytes
        progress(done, total)
    result.doubts.end()
    return result


def _tensor(checkpoint: Checkpoint, name: str, doubts: Doubts) -> None:
    """One tensor, by its kind."""
    if name.endswith("_proj.weight"):
        _matrix(checkpoint, name, doubts)
    elif name in (EMBEDDING, LM_HEAD):
        _table(checkpoint, name, doubts)
        if name == LM_HEAD and checkpoint.lm_head_differs():
            doubts.unused_lm_head(name)
    elif not name.endswith("_scale"):  # those are checked with their matrices
        values = checkpoint.float(name)
        to_bf16(values, name)
        doubts.norm(name, values)


def _matrix(checkpoint: Checkpoint, name: str, doubts: Doubts) -> None:
    matrix = checkpoint.ternary(name)
    counts = matrix.counts or sum(map(count_trits, matrix.blocks()), TritCounts())
    doubts.matrix(name, matrix.scale, counts)
    if matrix.counts is None:
        doubts.master(name, checkpoint.float(name, SAMPLED_ROWS), matrix.scale)


def _table(checkpoint: Checkpoint, name: str, doubts: Doubts) -> None:
    for rows in checkpoint.row_slices(name):
        values = checkpoint.float(name, rows)
        if name == EMBEDDING:
            to_bf16(values, name)  # raises CheckpointError for values out of range, as packing does
        doubts.rows(name, values)
