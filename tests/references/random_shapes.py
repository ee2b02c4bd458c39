"""The seeded random checkpoints whose Hugging Face logits are recorded: one place for the recorder and the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sim.random_checkpoint import write_random_checkpoint

__all__ = ["SHAPES", "write_shape"]

SHAPES: dict[str, dict[str, Any]] = {
    "five-heads-on-one": {
        "hidden": 320, "intermediate": 864, "layers": 3, "heads": 5, "kv_heads": 1, "vocab": 777, "seed": 1,
    },
    "bitlinear-own-head": {
        "hidden": 256, "intermediate": 512, "layers": 4, "heads": 4, "kv_heads": 2, "vocab": 300, "seed": 2,
        "bitlinear": True, "separate_head": True,
    },
    "head-dim-128": {
        "hidden": 256, "intermediate": 768, "layers": 4, "heads": 2, "kv_heads": 2, "vocab": 400, "seed": 3,
        "new_style": True,
    },
    "outliers": {
        "hidden": 192, "intermediate": 512, "layers": 4, "heads": 3, "kv_heads": 3, "vocab": 256, "seed": 4,
        "outlier_channels": 2, "outlier_gain": 40.0,
    },
}


def write_shape(name: str, folder: Path) -> Path:
    """The checkpoint of that name, in a folder of its own."""
    return write_random_checkpoint(folder / name, positions=128, **SHAPES[name])
