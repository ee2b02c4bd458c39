"""Records what Hugging Face transformers computes for `models/shakespeare-nano`, as the .npz files beside this script.

Run from the root of the repository, in an environment of its own: torch and transformers are needed only here, the
tests read the committed files. Everything runs on a CPU.

    python -m venv hf && hf/bin/pip install torch==2.13.0 && hf/bin/pip install transformers==5.23.0 accelerate==1.15.0
    hf/bin/python tests/references/make_references.py

One prompt in two precisions, `shakespeare-nano-float32.npz` and `shakespeare-nano-bfloat16.npz`, each with

    tokens      int64 [48]          the prompt, from the tenth of the text that was held out from training
    logits      float32 [48, 512]   all layers
    one_layer   float32 [48, 512]   the first block only, then the final norm and the head
    versions    text                of torch and transformers

and, with float32 only, `codes/<layer name>` int8 [48, in]: the activation codes of the full run, under the name of the
linear layer that first consumes them. Asked for float32, transformers still unpacks the weights to bfloat16, so both
runs load bfloat16 and one widens it to float32: the checkpoint holds only bfloat16 and ternary values, nothing is lost.

`shakespeare-nano-passages.npz` measures accuracy, for which one prompt is too few: passages of `passages.txt`, taken
at even distances from the same tenth of the text and separated by lines of `%`, in bfloat16:

    tokens      int64 [16, 64]          the beginning of each passage
    logits      uint16 [16, 64, 512]    bfloat16 codes, as the model gives them
    versions    text
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # eager: the same arithmetic, and no C++ compiler is needed

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer

HERE = Path(__file__).resolve().parent
CHECKPOINT = HERE.parents[1] / "models" / "shakespeare-nano"
POSITIONS = 48
PASSAGE_POSITIONS = 64
CONSUMERS = ("q_proj", "o_proj", "gate_proj", "down_proj")  # k and v share the codes of q; up those of gate
TEXT = """Tailor:
This is true that I say: an I had thee
in place where, thou shouldst know it.

GRUMIO:
I am for thee straight: take thou the
bill, give me thy mete-yard, and spare not me.
"""


def activation_codes(x: torch.Tensor) -> np.ndarray:
    """The int8 codes `AutoBitLinear` rounds its input to before it scales them back."""
    x = x.float()
    scale = 127 / x.abs().max(dim=-1, keepdim=True).values.clamp(min=1e-5)
    return (x * scale).round().clamp(-128, 127).to(torch.int8)[0].numpy()


@torch.no_grad()
def bfloat16_logits(tokens: list[list[int]]) -> np.ndarray:
    """Codes of the logits of several sequences of one length, each run by itself."""
    model = transformers.AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.bfloat16).eval()
    logits = torch.cat([model(torch.tensor([ids]), use_cache=False).logits for ids in tokens])
    return logits.view(torch.uint16).numpy()


@torch.no_grad()
def record(dtype: torch.dtype, tokens: list[int]) -> dict[str, np.ndarray]:
    """Logits of the whole model and of its first block, and the activation codes of the whole model."""
    model = transformers.AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.bfloat16).eval()
    torch.nn.Module.to(model, dtype)  # the model's own `to` refuses to cast quantised models
    found: dict[str, np.ndarray] = {}
    hooks = [
        module.register_forward_pre_hook(
            lambda _, inputs, name=name: found.__setitem__(f"codes/{name}", activation_codes(inputs[0]))
        )
        for name, module in model.named_modules()
        if name.endswith(CONSUMERS)
    ]
    ids = torch.tensor([tokens])
    found["logits"] = model(ids, use_cache=False).logits[0].float().numpy()
    for hook in hooks:
        hook.remove()
    model.model.layers = model.model.layers[:1]
    model.config.num_hidden_layers = 1
    found["one_layer"] = model(ids, use_cache=False).logits[0].float().numpy()
    return found


def main() -> None:
    tokenizer = Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json"))
    tokens = tokenizer.encode(TEXT).ids[:POSITIONS]
    assert len(tokens) == POSITIONS, f"the text is only {len(tokens)} tokens"
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    for dtype, name in ((torch.float32, "float32"), (torch.bfloat16, "bfloat16")):
        found = record(dtype, tokens)
        if dtype is not torch.float32:
            found = {key: value for key, value in found.items() if not key.startswith("codes/")}
        target = HERE / f"shakespeare-nano-{name}.npz"
        np.savez_compressed(target, tokens=np.array(tokens), versions=np.array(versions), **found)
        print(f"{target.name}: {target.stat().st_size} bytes")
    passages = (HERE / "passages.txt").read_text().split("%\n")
    prompts = [tokenizer.encode(passage).ids[:PASSAGE_POSITIONS] for passage in passages]
    assert {len(prompt) for prompt in prompts} == {PASSAGE_POSITIONS}, "a passage is too short"
    target = HERE / "shakespeare-nano-passages.npz"
    np.savez_compressed(
        target, tokens=np.array(prompts), versions=np.array(versions), logits=bfloat16_logits(prompts)
    )
    print(f"{target.name}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
