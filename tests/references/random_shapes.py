"""The seeded random checkpoints whose Hugging Face logits are recorded: one place for the recorder and the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sim.random_checkpoint import write_random_checkpoint

__all__ = ["MASTER_SHAPES", "SHAPES", "write_shape"]

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
    "master-weights": {
        "hidden": 256, "intermediate": 640, "layers": 3, "heads": 4, "kv_heads": 2, "vocab": 350, "seed": 5,
        "master_weights": True,
    },
    "outliers": {
        "hidden": 192, "intermediate": 512, "layers": 4, "heads": 3, "kv_heads": 3, "vocab": 256, "seed": 4,
        "outlier_channels": 2, "outlier_gain": 40.0,
    },
}

MASTER_SHAPES: dict[str, dict[str, Any]] = {
    f"master-{dtype}": {
        "hidden": 64, "intermediate": 88, "layers": 2, "heads": 4, "kv_heads": 2, "vocab": 90, "seed": seed,
        "master_weights": True, "dtype": dtype,
    }
    for seed, dtype in enumerate(("BF16", "F16", "F32"), 6)
}
"""Unpacked master weights in every float type."""


def write_shape(name: str, folder: Path) -> Path:
    """The checkpoint of that name, in a folder of its own."""
    return write_random_checkpoint(folder / name, positions=128, **(SHAPES | MASTER_SHAPES)[name])
