"""Seeded random checkpoints in the layout of Hugging Face, small enough for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sw import ternary

__all__ = ["to_bf16", "write_random_checkpoint", "write_safetensors"]

ZERO_FRACTION = 0.4
"""Part of the ternary weights that is 0; trained models have 0.38 to 0.5."""


def to_bf16(values: Any) -> NDArray[np.uint16]:
    """Bits of float values rounded to bfloat16, half to even. The values must be finite."""
    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def write_safetensors(path: Path, tensors: dict[str, NDArray[Any]]) -> None:
    """Write uint8 (U8), uint16 (the bits of BF16), float16 and float32 arrays as one safetensors file."""
    import safetensors

    names = {"uint8": "uint8", "uint16": "bfloat16", "float16": "float16", "float32": "float32"}
    spec = getattr(safetensors, "TensorSpec", None)
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    described: dict[str, Any] = {}
    for name, array in arrays.items():
        kind, shape = names[array.dtype.name], list(array.shape)
        if spec is None:
            described[name] = {"dtype": kind, "shape": shape, "data": array.tobytes()}
        else:
            described[name] = spec(dtype=kind, shape=shape, data_ptr=array.ctypes.data, data_len=array.nbytes)
    safetensors.serialize_file(described, str(path), {"format": "pt"})


def write_random_checkpoint(
    path: str | Path,
    *,
    hidden: int,
    intermediate: int,
    layers: int,
    heads: int,
    kv_heads: int,
    vocab: int,
    positions: int,
    seed: int,
    head_dim: int | None = None,
    shards: int = 1,
    separate_head: bool = False,
    bitlinear: bool = False,
    master_weights: bool = False,
    outlier_channels: int = 0,
    outlier_gain: float = 16.0,
    rope_theta: float = 10000.0,
    new_style: bool = False,
) -> Path:
    """Write a checkpoint folder and return it.

    Weight scales are 1 / sqrt(inputs * share of non-zero weights), so that a BitLinear keeps the size of its input.

    Args:
        head_dim: written into `config.json` if given; heads * head_dim must equal hidden.
        shards: number of safetensors files; more than one get an index.
        separate_head: an own `lm_head.weight` instead of the tied embedding.
        bitlinear: `linear_class` bitlinear, whose stored scale divides.
        master_weights: unpacked BF16 weights with `quantization_mode` online.
        outlier_channels: channels of every norm whose weight is `outlier_gain` times larger.
        new_style: `rope_parameters` and `dtype` in `config.json` instead of `rope_theta` and `torch_dtype`.
    """
    if bitlinear and master_weights:
        raise ValueError("bitlinear has no unpacked master weights")
    folder, random = Path(path), np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    kv = kv_heads * (head_dim or hidden // heads)
    tensors: dict[str, NDArray[Any]] = {}

    def norm(name: str, size: int) -> None:
        weight = 1 + 0.1 * random.standard_normal(size)
        weight[random.permutation(size)[:outlier_channels]] *= outlier_gain
        tensors[f"{name}.weight"] = to_bf16(weight)

    def linear(name: str, rows: int, inputs: int) -> None:
        scale = 1 / np.sqrt(inputs * (1 - ZERO_FRACTION))
        if master_weights:
            tensors[f"{name}.weight"] = to_bf16(random.standard_normal((rows, inputs)) * scale)
            return
        share = (1 - ZERO_FRACTION) / 2
        trits = random.choice(np.array([-1, 0, 1], np.int8), (rows, inputs), p=[share, ZERO_FRACTION, share])
        scale *= random.uniform(0.8, 1.25)
        tensors[f"{name}.weight"] = ternary.pack(trits)
        tensors[f"{name}.weight_scale"] = to_bf16([1 / scale if bitlinear else scale])

    tensors["model.embed_tokens.weight"] = to_bf16(random.standard_normal((vocab, hidden)))
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        norm(f"{prefix}input_layernorm", hidden)
        norm(f"{prefix}post_attention_layernorm", hidden)
        norm(f"{prefix}self_attn.attn_sub_norm", hidden)
        norm(f"{prefix}mlp.ffn_sub_norm", intermediate)
        linear(f"{prefix}self_attn.q_proj", hidden, hidden)
        linear(f"{prefix}self_attn.k_proj", kv, hidden)
        linear(f"{prefix}self_attn.v_proj", kv, hidden)
        linear(f"{prefix}self_attn.o_proj", hidden, hidden)
        linear(f"{prefix}mlp.gate_proj", intermediate, hidden)
        linear(f"{prefix}mlp.up_proj", intermediate, hidden)
        linear(f"{prefix}mlp.down_proj", hidden, intermediate)
    norm("model.norm", hidden)
    if separate_head:
        tensors["lm_head.weight"] = to_bf16(random.standard_normal((vocab, hidden)))

    config: dict[str, Any] = {
        "architectures": ["BitNetForCausalLM"],
        "model_type": "bitnet",
        "hidden_act": "relu2",
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocab,
        "max_position_embeddings": positions,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": not separate_head,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "quantization_config": {
            "quant_method": "bitnet",
            "linear_class": "bitlinear" if bitlinear else "autobitlinear",
            "quantization_mode": "online" if master_weights else "offline",
        },
    }
    if head_dim is not None:
        config["head_dim"] = head_dim
    if new_style:
        config |= {"dtype": "bfloat16", "rope_parameters": {"rope_type": "default", "rope_theta": rope_theta}}
    else:
        config |= {"torch_dtype": "bfloat16", "rope_theta": rope_theta}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")

    if shards == 1:
        write_safetensors(folder / "model.safetensors", tensors)
        return folder
    names = list(tensors)
    weight_map: dict[str, str] = {}
    for part in range(shards):
        file = f"model-{part + 1:05}-of-{shards:05}.safetensors"
        chosen = names[len(names) * part // shards : len(names) * (part + 1) // shards]
        write_safetensors(folder / file, {name: tensors[name] for name in chosen})
        weight_map |= dict.fromkeys(chosen, file)
    index = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    return folder
