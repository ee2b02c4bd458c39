"""Writes safetensors files: what our own reader, and the library of that name, read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["DTYPES", "Tensor", "TensorWriter", "to_bf16", "write_safetensors"]

DTYPES = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2"), "U8": np.dtype("u1")}
"""How tensors are stored, in the order in which they lie in a file: what needs alignment comes first."""


def to_bf16(values: Any) -> NDArray[np.uint16]:
    """Bits of float values rounded to bfloat16, half to even. The values must be finite."""
    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


class Tensor(NamedTuple):
    """A tensor to be written: dtype of `DTYPES`, shape, and an iterator over its rows, a block at a time."""

    dtype: str
    shape: tuple[int, ...]
    blocks: Iterator[NDArray[Any]]


class TensorWriter:
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

    def __enter__(self) -> TensorWriter:
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
    with TensorWriter(path, described) as file:
        for name, tensor in described.items():
            file.write(name, tensor)
