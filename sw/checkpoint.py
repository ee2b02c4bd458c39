"""Reader of Hugging Face BitNet checkpoints: configuration and tensors, checked against each other."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sw.model_config import CheckpointError, ModelConfig, read_json
from sw.tensor_file import FLOATS, INDEX_FILE, SINGLE_FILE, TensorInfo, read_header, read_rows, read_shards
from sw.ternary import TernaryMatrix, from_master, from_packed

__all__ = ["Checkpoint", "CheckpointError", "ModelConfig", "TensorInfo"]


@dataclass(frozen=True)
class Checkpoint:
    """A checked checkpoint. Tensor data is read when it is asked for.

    Attributes:
        path: the folder.
        config: the checked `config.json`.
        tensors: where every tensor lies, by name.
    """

    path: Path
    config: ModelConfig
    tensors: dict[str, TensorInfo]
    _warned: set[str] = field(default_factory=set, repr=False, compare=False)

    @classmethod
    def open(cls, path: str | Path) -> Checkpoint:
        """Read and check all headers of the checkpoint in a folder. Raises CheckpointError."""
        folder = Path(path)
        if not folder.is_dir():
            raise CheckpointError(f"{folder} is not a folder")
        config = ModelConfig.parse(read_json(folder / "config.json"))
        if (folder / SINGLE_FILE).exists():
            tensors = read_header(folder / SINGLE_FILE)
        elif (folder / INDEX_FILE).exists():
            tensors = read_shards(folder)
        else:
            raise CheckpointError(f"{folder} has neither {SINGLE_FILE} nor {INDEX_FILE}")
        tensors = {n: t for n, t in tensors.items() if not n.endswith("rotary_emb.inv_freq")}
        cls._check(config, tensors)
        return cls(folder, config, tensors)

    @staticmethod
    def _check(config: ModelConfig, tensors: dict[str, TensorInfo]) -> None:
        """Compare the tensors with those that `config.json` implies: names, shapes and dtypes."""
        if config.num_hidden_layers > len(tensors):
            raise CheckpointError(f"config.json has {config.num_hidden_layers} layers, more than there are tensors")
        expected = config.tensor_shapes()
        linear = {f"{name.rpartition('.')[2]}.weight" for name in config.linear_shapes()}
        for name, shape in expected.items():
            info = tensors.get(name)
            if info is None:
                raise CheckpointError(f"tensor {name} is missing")
            packed = config.quantization_mode == "offline" and ".".join(name.split(".")[-2:]) in linear
            if packed != (info.dtype == "U8"):
                raise CheckpointError(
                    f"tensor {name} has dtype {info.dtype}, but {'U8' if packed else 'a float type'} is needed "
                    f"for quantization_mode {config.quantization_mode}"
                )
            if info.shape != shape and (info.shape, shape) != ((), (1,)):
                raise CheckpointError(
                    f"tensor {name} has shape {list(info.shape)}, but config.json implies {list(shape)}"
                )
        for name, info in tensors.items():
            if name in expected:
                continue
            shape = (config.vocab_size, config.hidden_size)
            if name != "lm_head.weight" or info.shape != shape or info.dtype not in FLOATS:
                raise CheckpointError(f"tensor {name[:200]!r} is not part of the model that config.json describes")

    @property
    def files(self) -> list[Path]:
        """All files that belong to the checkpoint, whether they exist or not."""
        names = ("config.json", SINGLE_FILE, INDEX_FILE, "tokenizer.json", "generation_config.json")
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

    def ternary(self, name: str) -> TernaryMatrix:
        """The weight of a BitLinear and the scale that multiplies its sums, from packed or from master weights.

        `name` ends in `.weight`. The stored scale of `bitlinear` divides and is inverted here; master weights are
        quantised as they are read. Padding codes count as 0 and are reported once per tensor by a warning.
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
        matrix = from_packed((info.shape[0], info.shape[1]), lambda rows: self.raw(name, rows), factor)
        if matrix.padding and name not in self._warned:
            self._warned.add(name)
            warnings.warn(f"tensor {name} holds {matrix.padding} codes 0b11, which count as 0", stacklevel=2)
        return matrix
