"""Seeded random checkpoints in the layout of Hugging Face: tiny for tests, full-size by blocks of rows."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sw import ternary

__all__ = ["to_bf16", "write_random_checkpoint", "write_safetensors"]

ZERO_FRACTION = 0.4
"""Part of the ternary weights that is 0; trained models have 0.38 to 0.5."""

BLOCK_ELEMENTS = 1 << 20
"""Random numbers that are drawn at a time."""

DTYPES = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2"), "U8": np.dtype("u1")}
"""How tensors are stored, in the order in which they lie in a file: what needs alignment comes first."""

NAMES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def to_bf16(values: Any) -> NDArray[np.uint16]:
    """Bits of float values rounded to bfloat16, half to even. The values must be finite."""
    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


class Tensor(NamedTuple):
    """A tensor to be written: dtype of `DTYPES`, shape, and an iterator over its rows, a block at a time."""

    dtype: str
    shape: tuple[int, ...]
    blocks: Iterator[NDArray[Any]]


class _File:
    """A safetensors file whose tensors are written one after the other, in any order."""

    def __init__(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        self._path, self._start = path, {}
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name in sorted(tensors, key=lambda n: list(DTYPES).index(tensors[n].dtype)):
            dtype, shape, _ = tensors[name]
            begin, end = end, end + DTYPES[dtype].itemsize * math.prod(shape)
            header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
            self._start[name] = begin
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._head = len(text).to_bytes(8, "little") + text
        self._file: BinaryIO

    def __enter__(self) -> _File:
        self._file = self._path.open("wb")
        self._file.write(self._head)
        return self

    def write(self, name: str, tensor: Tensor) -> None:
        """All blocks of a tensor that was announced."""
        self._file.seek(len(self._head) + self._start[name])
        for block in tensor.blocks:
            self._file.write(np.ascontiguousarray(block, DTYPES[tensor.dtype]).data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def write_safetensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write uint8 (U8), uint16 (the bits of BF16), float16 and float32 arrays as one safetensors file."""
    kinds = {dtype: name for name, dtype in DTYPES.items()}
    described = {name: Tensor(kinds[array.dtype], array.shape, iter((array,))) for name, array in tensors.items()}
    with _File(path, described) as file:
        for name, tensor in described.items():
            file.write(name, tensor)


def _float_blocks(random: np.random.Generator, rows: int, columns: int, scale: float, dtype: str) -> Iterator[Any]:
    """Rows of normal random numbers; the blocks are no part of what is drawn."""
    step = max(1, BLOCK_ELEMENTS // columns)
    for start in range(0, rows, step):
        yield _stored(random.standard_normal((min(step, rows - start), columns)) * scale, dtype)


def _stored(values: Any, dtype: str) -> NDArray[Any]:
    return to_bf16(values) if dtype == "BF16" else np.asarray(values, DTYPES[dtype])


def _trits(random: np.random.Generator, rows: int, columns: int) -> NDArray[np.int8]:
    bounds = np.cumsum([(1 - ZERO_FRACTION) / 2, ZERO_FRACTION])  # of uniform numbers: -1 below the first, 1 above both
    trits = np.empty((rows, columns), np.int8)
    step = max(1, BLOCK_ELEMENTS // columns)
    for start in range(0, rows, step):
        block = trits[start : start + step]
        drawn = random.random(block.shape)
        block[:] = (drawn >= bounds[0]).view(np.int8) + (drawn >= bounds[1]).view(np.int8) - 1
    return trits


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
    dtype: str = "BF16",
    quantization_config: bool = True,
    outlier_channels: int = 0,
    outlier_gain: float = 16.0,
    embedding_gain: float = 1.0,
    zero_rows: int = 0,
    projections: Collection[str] | None = None,
    rope_theta: float = 10000.0,
    new_style: bool = False,
) -> Path:
    """Write a checkpoint folder and return it. Memory: one matrix of int8 and a block of random numbers.

    Weight scales are 1 / sqrt(inputs * share of non-zero weights), so that a BitLinear keeps the size of its input.

    Args:
        head_dim: written into `config.json` if given; heads * head_dim must equal hidden.
        shards: number of safetensors files; more than one get an index.
        separate_head: an own `lm_head.weight` instead of the tied embedding.
        bitlinear: `linear_class` bitlinear, whose stored scale divides.
        master_weights: unpacked weights with `quantization_mode` online.
        dtype: BF16, F16 or F32, of everything that is not packed.
        quantization_config: whether `config.json` has one; master weights do without.
        outlier_channels: channels of every norm whose weight is `outlier_gain` times larger.
        embedding_gain: factor of the embedding; 0 makes it all zero, thousands make a residual stream of thousands.
        zero_rows: rows at the start of every ternary matrix that are all zero.
        projections: names (`q_proj`, ...) of those whose ternary weights are not all zero; None for all.
        new_style: `rope_parameters` and `dtype` in `config.json` instead of `rope_theta` and `torch_dtype`.
    """
    if bitlinear and master_weights:
        raise ValueError("bitlinear has no unpacked master weights")
    if not (quantization_config or master_weights):
        raise ValueError("packed weights need a quantization_config")
    folder, random = Path(path), np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    kv = kv_heads * (head_dim or hidden // heads)
    tensors: dict[str, Tensor] = {}

    def norm(name: str, size: int) -> None:
        def blocks() -> Iterator[NDArray[Any]]:
            weight = 1 + 0.1 * random.standard_normal(size)
            weight[random.permutation(size)[:outlier_channels]] *= outlier_gain
            yield _stored(weight, dtype)

        tensors[f"{name}.weight"] = Tensor(dtype, (size,), blocks())

    def table(name: str, rows: int, columns: int, scale: float = 1.0) -> None:
        tensors[name] = Tensor(dtype, (rows, columns), _float_blocks(random, rows, columns, scale, dtype))

    def linear(name: str, rows: int, inputs: int) -> None:
        scale = 1 / np.sqrt(inputs * (1 - ZERO_FRACTION))
        if master_weights:
            table(f"{name}.weight", rows, inputs, scale)
            return

        def packed() -> Iterator[NDArray[Any]]:
            trits = _trits(random, rows, inputs)
            trits[:zero_rows] = 0
            if projections is not None and name.rpartition(".")[2] not in projections:
                trits[:] = 0
            yield ternary.pack(trits)

        def scales() -> Iterator[NDArray[Any]]:
            drawn = scale * random.uniform(0.8, 1.25)
            yield _stored([1 / drawn if bitlinear else drawn], dtype)

        tensors[f"{name}.weight"] = Tensor("U8", (rows // 4, inputs), packed())
        tensors[f"{name}.weight_scale"] = Tensor(dtype, (1,), scales())

    table("model.embed_tokens.weight", vocab, hidden, embedding_gain)
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
        table("lm_head.weight", vocab, hidden)

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
    }
    if quantization_config:
        config["quantization_config"] = {
            "quant_method": "bitnet",
            "linear_class": "bitlinear" if bitlinear else "autobitlinear",
            "quantization_mode": "online" if master_weights else "offline",
        }
    if head_dim is not None:
        config["head_dim"] = head_dim
    if new_style:
        config |= {"dtype": NAMES[dtype], "rope_parameters": {"rope_type": "default", "rope_theta": rope_theta}}
    else:
        config |= {"torch_dtype": NAMES[dtype], "rope_theta": rope_theta}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")

    names = list(tensors)
    files = ["model.safetensors"] if shards == 1 else [
        f"model-{part + 1:05}-of-{shards:05}.safetensors" for part in range(shards)
    ]
    parts = [names[len(names) * part // shards : len(names) * (part + 1) // shards] for part in range(shards)]
    for name, part in zip(files, parts, strict=True):
        with _File(folder / name, {n: tensors[n] for n in part}) as file:
            for tensor in part:
                file.write(tensor, tensors[tensor])
    if shards > 1:
        total = sum(DTYPES[t.dtype].itemsize * math.prod(t.shape) for t in tensors.values())
        index = {
            "metadata": {"total_size": total},
            "weight_map": {tensor: name for name, part in zip(files, parts, strict=True) for tensor in part},
        }
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    return folder
