"""Seeded random checkpoints in the layout of Hugging Face: tiny for tests, full-size by blocks of rows."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.tensor_writer import DTYPES, Tensor, TensorWriter, to_bf16
from sw import ternary

__all__ = ["Progress", "RandomModel", "write_model", "write_random_checkpoint"]

Progress = Callable[[int, int], None]
"""Called with the bytes of tensors that are written, and with those of all tensors."""

ZERO_FRACTION = 0.4
"""Part of the ternary weights that is 0; trained models have 0.38 to 0.5."""

BLOCK_ELEMENTS = 1 << 20
"""Random numbers that are drawn at a time."""

DTYPE_NAMES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def _float_blocks(random: np.random.Generator, rows: int, columns: int, scale: float, dtype: str) -> Iterator[Any]:
    """Rows of normal random numbers; the blocks are no part of what is drawn."""
    step = max(1, BLOCK_ELEMENTS // columns)
    for start in range(0, rows, step):
        yield _stored(random.standard_normal((min(step, rows - start), columns)) * scale, dtype)


def _stored(values: Any, dtype: str) -> NDArray[Any]:
    return to_bf16(values) if dtype == "BF16" else np.asarray(values, DTYPES[dtype])


def _trits(random: np.random.Generator, rows: int, columns: int) -> NDArray[np.int8]:
    bounds = np.cumsum([(1 - ZERO_FRACTION) / 2, ZERO_FRACTION])  # of uniform numbers: -1 below the first, 1 above both
    drawn = random.random((rows, columns))
    return (drawn >= bounds[0]).view(np.int8) + (drawn >= bounds[1]).view(np.int8) - np.int8(1)


def _ahead(random: np.random.Generator, draws: int) -> np.random.Generator:
    """The same generator after so many uniform numbers; the given one stays where it is."""
    bits = deepcopy(random.bit_generator)
    assert isinstance(bits, np.random.PCG64)
    bits.advance(draws)
    return np.random.Generator(bits)


def _skip(random: np.random.Generator, draws: int) -> None:
    """Move a generator over so many uniform numbers. They leave the half of a draw that permutations keep as it is."""
    kept, moved = random.bit_generator.state, _ahead(random, draws).bit_generator.state
    random.bit_generator.state = {**kept, "state": moved["state"]}


def _packed_blocks(random: np.random.Generator, rows: int, columns: int, zero_rows: int) -> Iterator[NDArray[Any]]:
    """Packed rows of a random ternary matrix, of which the first `zero_rows` are zero.

    The weights are drawn row by row. A packed row holds rows of all four quarters, so each quarter has a generator that
    starts where its first row is drawn.
    """
    quarter = rows // 4
    generators = [_ahead(random, part * quarter * columns) for part in range(4)]
    _skip(random, rows * columns)
    step = max(1, BLOCK_ELEMENTS // (4 * columns))
    for start in range(0, quarter, step):
        block = [_trits(generator, min(step, quarter - start), columns) for generator in generators]
        for part, trits in enumerate(block):
            trits[: max(0, zero_rows - part * quarter - start)] = 0
        yield ternary.pack(np.concatenate(block))


@dataclass(frozen=True, kw_only=True)
class RandomModel:
    """What a random checkpoint is like.

    Weight scales are 1 / sqrt(inputs * share of non-zero weights), so that a BitLinear keeps the size of its input.

    Attributes:
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
        bos_token_id: as in `config.json`.
        eos_token_id: likewise.
    """

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocab: int
    positions: int
    seed: int
    head_dim: int | None = None
    shards: int = 1
    separate_head: bool = False
    bitlinear: bool = False
    master_weights: bool = False
    dtype: str = "BF16"
    quantization_config: bool = True
    outlier_channels: int = 0
    outlier_gain: float = 16.0
    embedding_gain: float = 1.0
    zero_rows: int = 0
    projections: Collection[str] | None = None
    rope_theta: float = 10000.0
    new_style: bool = False
    bos_token_id: int = 0
    eos_token_id: int | list[int] = 0

    def __post_init__(self) -> None:
        if self.bitlinear and self.master_weights:
            raise ValueError("bitlinear has no unpacked master weights")
        if not (self.quantization_config or self.master_weights):
            raise ValueError("packed weights need a quantization_config")

    def config(self) -> dict[str, Any]:
        """The content of `config.json`."""
        config: dict[str, Any] = {
            "architectures": ["BitNetForCausalLM"],
            "model_type": "bitnet",
            "hidden_act": "relu2",
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "vocab_size": self.vocab,
            "max_position_embeddings": self.positions,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": not self.separate_head,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_id,
        }
        if self.quantization_config:
            config["quantization_config"] = {
                "quant_method": "bitnet",
                "linear_class": "bitlinear" if self.bitlinear else "autobitlinear",
                "quantization_mode": "online" if self.master_weights else "offline",
            }
        if self.head_dim is not None:
            config["head_dim"] = self.head_dim
        dtype, theta = DTYPE_NAMES[self.dtype], self.rope_theta
        if self.new_style:
            return config | {"dtype": dtype, "rope_parameters": {"rope_type": "default", "rope_theta": theta}}
        return config | {"torch_dtype": dtype, "rope_theta": theta}

    @property
    def tensor_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(map(_bytes, _Tensors(self).by_name.values()))


def _bytes(tensor: Tensor) -> int:
    return DTYPES[tensor.dtype].itemsize * math.prod(tensor.shape)


class _Tensors:
    """The tensors of a model by name. Their numbers are drawn when they are written, one tensor after the other."""

    def __init__(self, model: RandomModel) -> None:
        self._model, self._random = model, np.random.default_rng(model.seed)
        self.by_name: dict[str, Tensor] = {}
        hidden, ffn = model.hidden, model.intermediate
        kv = model.kv_heads * (model.head_dim or hidden // model.heads)
        self._table("model.embed_tokens.weight", model.vocab, hidden, model.embedding_gain)
        for layer in range(model.layers):
            prefix = f"model.layers.{layer}."
            for name, size in (("input_layernorm", hidden), ("post_attention_layernorm", hidden),
                               ("self_attn.attn_sub_norm", hidden), ("mlp.ffn_sub_norm", ffn)):
                self._norm(prefix + name, size)
            for name, rows, inputs in (
                ("self_attn.q_proj", hidden, hidden), ("self_attn.k_proj", kv, hidden),
                ("self_attn.v_proj", kv, hidden), ("self_attn.o_proj", hidden, hidden),
                ("mlp.gate_proj", ffn, hidden), ("mlp.up_proj", ffn, hidden), ("mlp.down_proj", hidden, ffn),
            ):
                self._linear(prefix + name, rows, inputs)
        self._norm("model.norm", hidden)
        if model.separate_head:
            self._table("lm_head.weight", model.vocab, hidden)

    def _norm(self, name: str, size: int) -> None:
        model = self._model

        def blocks() -> Iterator[NDArray[Any]]:
            weight = 1 + 0.1 * self._random.standard_normal(size)
            weight[self._random.permutation(size)[: model.outlier_channels]] *= model.outlier_gain
            yield _stored(weight, model.dtype)

        self.by_name[f"{name}.weight"] = Tensor(model.dtype, (size,), blocks())

    def _table(self, name: str, rows: int, columns: int, scale: float = 1.0) -> None:
        dtype = self._model.dtype
        self.by_name[name] = Tensor(dtype, (rows, columns), _float_blocks(self._random, rows, columns, scale, dtype))

    def _linear(self, name: str, rows: int, inputs: int) -> None:
        model, scale = self._model, 1 / np.sqrt(inputs * (1 - ZERO_FRACTION))
        if model.master_weights:
            self._table(f"{name}.weight", rows, inputs, scale)
            return

        absent = model.projections is not None and name.rpartition(".")[2] not in model.projections

        def packed() -> Iterator[NDArray[Any]]:  # draws nothing before the tensors in front of it are written
            yield from _packed_blocks(self._random, rows, inputs, rows if absent else model.zero_rows)

        def scales() -> Iterator[NDArray[Any]]:
            drawn = scale * self._random.uniform(0.8, 1.25)
            yield _stored([1 / drawn if model.bitlinear else drawn], model.dtype)

        self.by_name[f"{name}.weight"] = Tensor("U8", (rows // 4, inputs), packed())
        self.by_name[f"{name}.weight_scale"] = Tensor(model.dtype, (1,), scales())


def write_random_checkpoint(path: str | Path, **fields: Any) -> Path:
    """Write the checkpoint folder of a `RandomModel` of these fields, and return it."""
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    write_model(folder, RandomModel(**fields))
    return folder


def write_model(folder: Path, model: RandomModel, progress: Progress = lambda done, total: None) -> None:
    """Write `config.json` and the tensors of a model. Memory: some blocks of random numbers."""
    (folder / "config.json").write_text(json.dumps(model.config(), indent=2) + "\n")
    _write_shards(folder, _Tensors(model).by_name, model.shards, progress)


def _write_shards(folder: Path, tensors: Mapping[str, Tensor], shards: int, progress: Progress) -> None:
    """The tensors in so many files, with an index if there is more than one."""
    names, done, total = list(tensors), 0, sum(map(_bytes, tensors.values()))

    def counted(blocks: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
        nonlocal done
        for block in blocks:
            yield block
            done += block.nbytes
            progress(done, total)

    files = ["model.safetensors"] if shards == 1 else [
        f"model-{part + 1:05}-of-{shards:05}.safetensors" for part in range(shards)
    ]
    parts = [names[len(names) * part // shards : len(names) * (part + 1) // shards] for part in range(shards)]
    for name, part in zip(files, parts, strict=True):
        with TensorWriter(folder / name, {n: tensors[n] for n in part}) as file:
            for tensor in part:
                file.write(tensor, tensors[tensor]._replace(blocks=counted(tensors[tensor].blocks)))
    if shards > 1:
        index = {
            "metadata": {"total_size": total},
            "weight_map": {tensor: name for name, part in zip(files, parts, strict=True) for tensor in part},
        }
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
