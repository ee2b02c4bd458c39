"""Records what Hugging Face transformers computes in bfloat16 for the random checkpoints of random_shapes.py.

Run from the root of the repository with the environment of make_references.py (which also needs `amaranth`, since the
checkpoints are written by the project): `python -m tests.references.make_random_references`. Writes random-shapes.npz:

    <name>/tokens   int64 [6, 40]           random token ids
    <name>/logits   uint16 [6, 40, vocab]   bfloat16 codes, as the model gives them
    versions        text                    of torch and transformers
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # eager: the same arithmetic, and no C++ compiler is needed

import numpy as np
import torch
import transformers

from tests.references.random_shapes import SHAPES, write_shape

TARGET = Path(__file__).with_name("random-shapes.npz")
SEQUENCES, POSITIONS = 6, 40


@torch.no_grad()
def main() -> None:
    found: dict[str, np.ndarray] = {
        "versions": np.array(f"torch {torch.__version__}, transformers {transformers.__version__}")
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, shape in SHAPES.items():
            tokens = np.random.default_rng(shape["seed"]).integers(0, shape["vocab"], (SEQUENCES, POSITIONS))
            checkpoint = write_shape(name, Path(folder))
            model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.bfloat16).eval()
            logits = torch.cat([model(torch.tensor(row[None]), use_cache=False).logits for row in tokens])
            found[f"{name}/tokens"], found[f"{name}/logits"] = tokens, logits.view(torch.uint16).numpy()
    np.savez_compressed(TARGET, **found)
    print(f"{TARGET.name}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
