"""Memory-mapped reader of Hugging Face BitNet checkpoints. Nothing is trusted: all sizes are checked before any use."""

from __future__ import annotations

import math
import struct
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from sw import ternary
from sw.model_config import MAX_JSON_BYTES, CheckpointError, ModelConfig, parse_json, read_json

__all__ = ["Checkpoint", "CheckpointError", "ModelConfig", "TensorInfo"]

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
DTYPES = {"U8": np.dtype("u1"), "BF16": np.dtype("<u2"), "F16": np.dtype("<f2"), "F32": np.dtype("<f4")}
FLOATS = ("BF16", "F16", "F32")
Scale: TypeAlias = float


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies: `nbytes` bytes at byte `offset` of `file`. `dtype` is U8, BF16, F16 or F32."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    offset: int
    nbytes: int


def _naturals(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(v) is int and 0 <= v < 1 << 62 for v in value)


def _tensor(name: str, entry: Any, path: Path, start: int, size: int) -> TensorInfo:
    """Check one entry of a header; `start` is the file offset of the data, `size` the bytes of the file."""
    where = f"tensor {name[:200]!r} in {path.name}"
    if not isinstance(entry, dict):
        raise CheckpointError(f"{where} has no description")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise CheckpointError(f"{where} has dtype {str(dtype)[:40]!r}, but only {', '.join(DTYPES)} are supported")
    if not _naturals(shape) or len(shape) > 8 or 0 in shape:
        raise CheckpointError(f"{where} has an invalid shape {str(shape)[:80]}")
    if not _naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise CheckpointError(f"{where} has invalid data offsets {str(offsets)[:80]}")
    begin, end = offsets
    if start + end > size:
        raise CheckpointError(f"{where} ends at byte {start + end}, but the file has {size} bytes")
    needed = math.prod(shape) * DTYPES[dtype].itemsize
    if end - begin != needed:
        raise CheckpointError(f"{where} has {end - begin} bytes, but {dtype} of shape {shape} needs {needed}")
    return TensorInfo(name, dtype, tuple(shape), path, start + begin, needed)


def read_header(path: Path) -> dict[str, TensorInfo]:
    """The tensors of one safetensors file, by name. They must cover the data exactly and not overlap."""
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist or is not a file")
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size < 8:
                raise CheckpointError(f"{path} is too short for a safetensors header")
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(size - 8, MAX_JSON_BYTES):
                raise CheckpointError(f"{path} declares a header of {length} bytes, but the file has {size} bytes")
            header = parse_json(file.read(length), f"the header of {path}")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    header.pop("__metadata__", None)
    start = 8 + length
    tensors = {name: _tensor(name, entry, path, start, size) for name, entry in header.items()}
    position = start
    for info in sorted(tensors.values(), key=lambda t: t.offset):
        if info.offset < position:
            raise CheckpointError(f"tensor {info.name[:200]!r} in {path.name} overlaps another tensor")
        if info.offset > position:
            raise CheckpointError(f"{path} has unused bytes before tensor {info.name[:200]!r}")
        position = info.offset + info.nbytes
    if position != size:
        raise CheckpointError(f"{path} has {size - position} unused bytes at its end")
    return tensors


def _read_shards(folder: Path) -> dict[str, TensorInfo]:
    """The tensors of all files that the index names; index and files must agree."""
    mapping = read_json(folder / INDEX_FILE).get("weight_map")
    if not isinstance(mapping, dict) or not mapping or not all(isinstance(v, str) for v in mapping.values()):
        raise CheckpointError(f"{folder / INDEX_FILE} has no weight_map from tensor names to file names")
    tensors: dict[str, TensorInfo] = {}
    files = sorted(set(mapping.values()))
    for name in files:
        if not name or name.startswith(".") or any(c in name for c in "/\\:\0"):
            raise CheckpointError(f"{folder / INDEX_FILE} names {name[:200]!r}, which is not a file of its folder")
    for name in files:
        for info in read_header(folder / name).values():
            if mapping.get(info.name) != name:
                raise CheckpointError(f"{name} holds tensor {info.name[:200]!r}, but the index does not say so")
            tensors[info.name] = info
    missing = next((n for n in mapping if n not in tensors), None)
    if missing is not None:
        raise CheckpointError(f"the index says that {mapping[missing]} holds {missing[:200]!r}, but it does not")
    return tensors


@dataclass(frozen=True)
class Checkpoint:
    """A checked checkpoint. Tensor data is mapped when it is asked for.

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
            tensors = _read_shards(folder)
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
            if info.shape != shape and (info.shape, shape) != ((), (1,)):
                raise CheckpointError(
                    f"tensor {name} has shape {list(info.shape)}, but config.json implies {list(shape)}"
                )
            packed = config.quantization_mode == "offline" and ".".join(name.split(".")[-2:]) in linear
            if packed != (info.dtype == "U8"):
                raise CheckpointError(
                    f"tensor {name} has dtype {info.dtype}, but {'U8' if packed else 'a float type'} is needed "
                    f"for quantization_mode {config.quantization_mode}"
                )
        for name, info in tensors.items():
            if name in expected:
                continue
            shape = (config.vocab_size, config.hidden_size)
            if name != "lm_head.weight" or info.shape != shape or info.dtype not in FLOATS:
                raise CheckpointError(f"tensor {name[:200]!r} is not part of the model that config.json describes")

    def info(self, name: str) -> TensorInfo:
        """Where a tensor lies. Raises CheckpointError if there is none of that name."""
        if name not in self.tensors:
            raise CheckpointError(f"tensor {name} is missing")
        return self.tensors[name]

    def raw(self, name: str) -> np.memmap:
        """A read-only view of a tensor in its file. BF16 appears as uint16."""
        info = self.info(name)
        try:
            return np.memmap(info.file, DTYPES[info.dtype], "r", info.offset, info.shape or (1,))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"tensor {name} cannot be mapped: {error}") from error

    def float(self, name: str, rows: slice = slice(None)) -> NDArray[np.float32]:
        """A BF16, F16 or F32 tensor or some of its rows as float32, which is exact; NaN and infinities are refused."""
        info, raw = self.info(name), self.raw(name)[rows]
        if info.dtype not in FLOATS:
            raise CheckpointError(f"tensor {name} has dtype {info.dtype}, which is not a float type")
        if info.dtype == "BF16":
            values = np.left_shift(raw, 16, dtype=np.uint32).view(np.float32)
        else:
            values = raw.astype(np.float32)
        values = np.asarray(values)
        if not np.isfinite(values).all():
            raise CheckpointError(f"tensor {name} holds NaN or infinite values")
        return values

    def ternary(self, name: str) -> tuple[NDArray[np.int8], Scale]:
        """Trits [M, K] of a BitLinear weight and the scale that multiplies its sums.

        `name` ends in `.weight`. The stored scale of `bitlinear` divides and is inverted here; master weights are
        quantised. Padding codes in packed weights count as 0 and are reported once per tensor by a warning.
        """
        info = self.info(name)
        if not name.endswith("_proj.weight"):
            raise CheckpointError(f"tensor {name} is not the weight of a BitLinear")
        if info.dtype != "U8":
            return ternary.quantize(self.float(name))
        packed = np.asarray(self.raw(name))
        if name not in self._warned and (padding := ternary.count_padding(packed)):
            self._warned.add(name)
            warnings.warn(f"tensor {name} holds {padding} codes 0b11, which count as 0", stacklevel=2)
        scale = self.float(f"{name}_scale").item()
        if scale <= 0:
            raise CheckpointError(f"the weight scale of {name} must be above 0, not {scale:g}")
        return ternary.unpack(packed), 1.0 / scale if self.config.linear_class == "bitlinear" else scale
