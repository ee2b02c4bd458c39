"""Records what Hugging Face transformers makes of unpacked master weights: the checkpoints of master_shapes in
random_shapes.py, which have `quantization_mode` online.

Run from the root of the repository with the environment of make_references.py:
`python -m tests.references.make_master_references`. Writes master-weights.npz, with float32 arithmetic:

    <name>/tokens               int64 [24]              random token ids
    <name>/logits               float32 [24, vocab]
    <name>/codes/<layer name>   int8 [24, in]           activation codes, as in make_references.py
    <name>/trits/<layer name>   int8 [out, in]          the weights as `WeightQuant` leaves them, divided by their scale
    <name>/scale/<layer name>   float32                 that scale
    versions                    text                    of torch and transformers
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # eager: the same arithmetic, and no C++ compiler is needed

import numpy as np
import torch
import transformers
from transformers.integrations.bitnet import AutoBitLinear, WeightQuant

from tests.references.make_references import CONSUMERS, activation_codes
from tests.references.random_shapes import MASTER_SHAPES, write_shape

TARGET = Path(__file__).with_name("master-weights.npz")
POSITIONS = 24


@torch.no_grad()
def record(checkpoint: Path, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Everything about one checkpoint, under the keys of above."""
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    found: dict[str, np.ndarray] = {"tokens": tokens}
    for name, module in model.named_modules():
        if not isinstance(module, AutoBitLinear):
            continue
        assert module.online_quant
        quantized = WeightQuant.apply(module.weight)
        scale = quantized.abs().max()
        found[f"scale/{name}"] = scale.numpy()
        found[f"trits/{name}"] = (quantized / scale).to(torch.int8).numpy()
        if name.endswith(CONSUMERS):
            module.register_forward_pre_hook(
                lambda _, inputs, name=name: found.__setitem__(f"codes/{name}", activation_codes(inputs[0]))
            )
    found["logits"] = model(torch.tensor(tokens[None]), use_cache=False).logits[0].numpy()
    return found


def main() -> None:
    found = {"versions": np.array(f"torch {torch.__version__}, transformers {transformers.__version__}")}
    with tempfile.TemporaryDirectory() as folder:
        for name, shape in MASTER_SHAPES.items():
            tokens = np.random.default_rng(shape["seed"]).integers(0, shape["vocab"], POSITIONS)
            recorded = record(write_shape(name, Path(folder)), tokens)
            found |= {f"{name}/{key}": value for key, value in recorded.items()}
    np.savez_compressed(TARGET, **found)
    print(f"{TARGET.name}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
