"""Reader of Hugging Face BitNet checkpoints. Configuration and tensors are checked against each other."""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sw.file_kind import folder_kind, path_kind, unfinished
from sw.model_config import CheckpointError, ModelConfig, read_json
from sw.tensor_file import FLOATS, INDEX_FILE, SINGLE_FILE, TensorInfo, read_header, read_rows, read_shards
from sw.ternary import TernaryMatrix, from_master, from_packed

__all__ = ["EMBEDDING", "LM_HEAD", "Checkpoint", "CheckpointError", "ModelConfig", "TensorInfo", "to_bf16"]


EMBEDDING = "model.embed_tokens.weight"
LM_HEAD = "lm_head.weight"

READ_CHUNK_ELEMENTS = 1 << 20
"""Elements of a table that are read at a time."""

BUFFERS = ("rotary_emb.inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached", "position_ids", "attn.masked_bias")
"""Name endings of tensors that older models store besides their weights. They are computed from config.json instead."""


def to_bf16(values: NDArray[np.floating], name: str) -> NDArray[np.uint16]:
    """bf16 codes of a tensor, half to even. Raises CheckpointError where bf16 has no such large numbers."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    codes = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    if (codes & 0x7FFF >= 0x7F80).any():
        raise CheckpointError(f"tensor {name} holds values that are too large for bf16")
    return codes


def _nobody_needs(name: str, info: TensorInfo) -> bool:
    """Whether a tensor that the model does not have cannot change what it computes: empty, integer, or a buffer."""
    return 0 in info.shape or info.dtype in ("BOOL", "I16", "U16", "I32", "U32", "I64", "U64") or name.endswith(BUFFERS)


def _other_packing(config: ModelConfig, tensors: dict[str, TensorInfo], name: str) -> str:
    """Advice, for an error message, if config.json specifies packed weights but the file has master weights, or vice
    versa."""
    if not name.endswith(("_proj.weight", "_proj.weight_scale")):
        return ""
    weight = tensors.get(name.removesuffix("_scale"))
    if config.quantization_mode == "offline" and weight is not None and weight.dtype in FLOATS:
        return (": config.json specifies packed weights, but these are master weights; to quantise them when they "
                "are loaded, set quantization_mode to online and linear_class to autobitlinear in "
                "config.json")
    if config.quantization_mode == "online" and weight is not None and weight.dtype == "U8":
        return (": config.json specifies master weights, but these are packed; set quant_method to bitnet, "
                "quantization_mode to offline and the model's linear_class in the quantization_config of config.json")
    return ""


@dataclass(frozen=True)
class Checkpoint:
    """A checked checkpoint. Tensor data is read on demand.

    Attributes:
        path: the folder.
        config: the checked `config.json`.
        tensors: location of each tensor of the model, by name. Tensors that the model does not use are left out.
    """

    path: Path
    config: ModelConfig
    tensors: dict[str, TensorInfo]

    @classmethod
    def open(cls, path: str | Path) -> Checkpoint:
        """Read and check all headers of the checkpoint in a folder. Raises CheckpointError."""
        folder = Path(path)
        if not folder.is_dir():
            raise CheckpointError(f"{folder} {path_kind(folder)}")
        weights = next((name for name in (SINGLE_FILE, INDEX_FILE) if os.path.lexists(folder / name)), None)
        kind = "download it too" if weights else folder_kind(folder)
        if not os.path.lexists(folder / "config.json"):
            raise CheckpointError(f"{folder / 'config.json'} does not exist" + (f": {kind}" if kind else ""))
        config = ModelConfig.parse(read_json(folder / "config.json"))
        if weights is None:
            raise CheckpointError(f"{folder} has neither {SINGLE_FILE} nor {INDEX_FILE}"
                                  + (f": {kind}" if kind else ""))
        if download := unfinished(folder):
            warnings.warn(f"{folder}: {download}", stacklevel=2)
        tensors, absent = read_shards(folder) if weights == INDEX_FILE else (read_header(folder / SINGLE_FILE), {})
        if config.tie_word_embeddings is None:
            config = replace(config, tie_word_embeddings=LM_HEAD not in tensors and LM_HEAD not in absent)
        cls._check(config, tensors, absent)
        needed = config.tensor_shapes().keys() | {LM_HEAD}
        return cls(folder, config, {name: info for name, info in tensors.items() if name in needed})

    @staticmethod
    def _check(config: ModelConfig, tensors: dict[str, TensorInfo], absent: dict[str, str]) -> None:
        """Compare the tensors with those that `config.json` implies: names, shapes and dtypes.

        `absent` are names of the index without a tensor.
        """
        if config.num_hidden_layers > len(tensors):
            raise CheckpointError(f"config.json has {config.num_hidden_layers} layers, but the checkpoint has only "
                                  f"{len(tensors)} tensors: download the missing files, or correct num_hidden_layers")
        expected = config.tensor_shapes()
        linear = {f"{name.rpartition('.')[2]}.weight" for name in config.linear_shapes()}
        for name, shape in expected.items():
            packed = config.quantization_mode == "offline" and ".".join(name.split(".")[-2:]) in linear
            info = tensors.get(name)
            if info is None:
                raise CheckpointError(
                    f"the index says that {absent[name]!r} holds {name}, but it does not" if name in absent
                    else f"tensor {name} is missing{_other_packing(config, tensors, name)}"
                )
            if packed != (info.dtype == "U8") or (not packed and info.dtype not in FLOATS):
                raise CheckpointError(
                    f"tensor {name} has dtype {info.dtype}, but {'U8' if packed else ' or '.join(FLOATS)} is needed "
                    f"for quantization_mode {config.quantization_mode}{_other_packing(config, tensors, name)}"
                )
            if info.shape != shape and (math.prod(info.shape), shape) != (1, (1,)):
                raise CheckpointError(
                    f"tensor {name} has shape {list(info.shape)}, but config.json implies {list(shape)}"
                )
        for name, info in tensors.items():
            shape = (config.vocab_size, config.hidden_size)
            spare_head = name == LM_HEAD and info.shape == shape and info.dtype in FLOATS
            if name not in expected and not spare_head and not _nobody_needs(name, info):
                raise CheckpointError(f"tensor {name[:200]!r} is not part of the model that config.json describes")
        for name, file in absent.items():
            if name != LM_HEAD and not name.endswith(BUFFERS):
                raise CheckpointError(f"the index says that {file!r} holds {name[:200]!r}, but it does not")

    @property
    def files(self) -> list[Path]:
        """All files that belong to the checkpoint, whether they exist or not."""
        names = ("config.json", SINGLE_FILE, INDEX_FILE, "tokenizer.json", "tokenizer_config.json",
                 "special_tokens_map.json", "generation_config.json")
        return sorted({self.path / name for name in names} | {info.file for info in self.tensors.values()})

    def info(self, name: str) -> TensorInfo:
        """Where a tensor lies. Raises CheckpointError if there is none of that name."""
        if name not in self.tensors:
            raise CheckpointError(f"tensor {name} is missing")
        return self.tensors[name]

    def raw(self, name: str, rows: slice = slice(None)) -> NDArray[Any]:
        """A tensor, or some of its rows, as it is stored. BF16 appears as uint16."""
        return read_rows(self.info(name), rows)

    def float(self, name: str, rows: slice = slice(None)) -> NDArray[np.float32]:
        """A BF16, F16 or F32 tensor or some of its rows as float32, which is exact; NaN and infinities are refused."""
        info = self.info(name)
        if info.dtype not in FLOATS:
            raise CheckpointError(f"tensor {name} has dtype {info.dtype}, which is not a float type")
        raw = self.raw(name, rows)
        values = np.left_shift(raw, 16, dtype=np.uint32).view(np.float32) if info.dtype == "BF16" else raw
        if not np.isfinite(values).all():
            raise CheckpointError(f"tensor {name} holds NaN or infinite values")
        return values.astype(np.float32, copy=False)

    def row_slices(self, name: str) -> list[slice]:
        """All rows of a table, in parts of a bounded size."""
        rows, columns = self.info(name).shape
        step = max(1, READ_CHUNK_ELEMENTS // columns)
        return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]

    def lm_head_differs(self) -> bool:
        """Whether an LM head is stored that `config.json` does not use and that differs from the embedding."""
        return bool(LM_HEAD in self.tensors and self.config.tie_word_embeddings) and any(
            not np.array_equal(self.float(LM_HEAD, rows), self.float(EMBEDDING, rows))
            for rows in self.row_slices(LM_HEAD))

    def ternary(self, name: str) -> TernaryMatrix:
        """The weight of a BitLinear and the scale that multiplies its sums, from packed or from master weights.

        `name` ends in `.weight`. The stored scale of `bitlinear` divides and is inverted here; master weights are
        quantised as they are read. Padding codes count as 0; `sw.doubts` tells of them.
        """
        info = self.info(name)
        if not name.endswith("_proj.weight"):
            raise CheckpointError(f"tensor {name} is not the weight of a BitLinear")
        if info.dtype != "U8":
            return from_master((info.shape[0], info.shape[1]), lambda rows: self.float(name, rows))
        scale = self.float(f"{name}_scale").item()
        if scale <= 0:
            raise CheckpointError(f"the weight scale of {name} must be above 0, not {scale:g}")
        factor = 1.0 / scale if self.config.linear_class == "bitlinear" else scale
        return from_packed((info.shape[0], info.shape[1]), lambda rows: self.raw(name, rows), factor)
