"""Safetensors files: their headers, the index of a sharded checkpoint, and rows of a tensor.

All sizes are checked before use, because files may be damaged or hostile. Data is read on demand and never mapped, so
that a file that shrinks meanwhile raises an error instead of a bus error.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from sw.file_kind import HEAD_BYTES, absence, other_kind
from sw.model_config import MAX_JSON_BYTES, CheckpointError, parse_json, read_json

__all__ = ["DTYPES", "FLOATS", "INDEX_FILE", "SINGLE_FILE", "TensorInfo", "read_header", "read_rows", "read_shards"]

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
DTYPES = {"U8": np.dtype("u1"), "BF16": np.dtype("<u2"), "F16": np.dtype("<f2"), "F32": np.dtype("<f4")}
FLOATS = ("BF16", "F16", "F32")

_ITEM_BITS = {name: 8 * dtype.itemsize for name, dtype in DTYPES.items()} | {
    "BOOL": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "I32": 32, "U32": 32, "I64": 64,
    "U64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}
"""Bits per element of every type of the safetensors format. Only the types in `DTYPES` are read."""


@dataclass(frozen=True)
class TensorInfo:
    """Location of a tensor: `nbytes` bytes at byte `offset` of `file`.

    A tensor that is read has `dtype` U8, BF16, F16 or F32. Files may contain unused tensors of other types.
    """

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
    if not isinstance(dtype, str) or dtype not in _ITEM_BITS:
        raise CheckpointError(f"{where} has dtype {str(dtype)[:40]!r}, which is not a type of the safetensors format")
    if not _naturals(shape) or len(shape) > 8:
        raise CheckpointError(f"{where} has an invalid shape {str(shape)[:80]}")
    if not _naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise CheckpointError(f"{where} has invalid data offsets {str(offsets)[:80]}")
    begin, end = offsets
    if start + end > size:
        raise CheckpointError(f"{where} ends at byte {start + end}, but the file has {size} bytes: an unfinished "
                              "download, or a damaged file; download it again")
    needed = -(-math.prod(shape) * _ITEM_BITS[dtype] // 8)
    if end - begin != needed:
        raise CheckpointError(f"{where} has {end - begin} bytes, but {dtype} of shape {shape} needs {needed}")
    return TensorInfo(name, dtype, tuple(shape), path, start + begin, needed)


def read_header(path: Path) -> dict[str, TensorInfo]:
    """The tensors of one safetensors file, by name. They must cover the data exactly and not overlap."""
    if not path.is_file():
        raise CheckpointError(f"{path} {absence(path)}")
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            head = file.read(HEAD_BYTES)
            other = other_kind(head)
            if other:
                raise CheckpointError(f"{path} is {other}")
            if head[:64].decode("latin-1").isprintable() and head[:64].isascii():  # the length has zeros
                raise CheckpointError(f"{path} is a text ({head[:64].decode()!r}), not a safetensors file: download it "
                                      "again")
            if size < 8:
                raise CheckpointError(f"{path} is too short for a safetensors header: download it again")
            file.seek(0)
            length = int.from_bytes(file.read(8), "little")
            if length > size - 8:
                raise CheckpointError(f"{path} declares a header of {length} bytes, but the file has {size} bytes: it "
                                      "is not a safetensors file, or an unfinished download; download it again")
            if length > MAX_JSON_BYTES:
                raise CheckpointError(f"{path} declares a header of {length} bytes, more than {MAX_JSON_BYTES}")
            header = parse_json(file.read(length), f"the header of {path}")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    header.pop("__metadata__", None)
    start = 8 + length
    tensors = {name: _tensor(name, entry, path, start, size) for name, entry in header.items()}
    position = start
    for info in sorted(tensors.values(), key=lambda t: (t.offset, t.nbytes)):
        if info.offset < position:
            raise CheckpointError(f"tensor {info.name[:200]!r} in {path.name} overlaps another tensor")
        if info.offset > position:
            raise CheckpointError(f"{path} has unused bytes before tensor {info.name[:200]!r}")
        position = info.offset + info.nbytes
    if position != size:
        raise CheckpointError(f"{path} has {size - position} unused bytes at its end")
    return tensors


def _inside(name: str, folder: Path) -> bool:
    """Whether the file, with links followed, is in the folder or in a blob folder of the Hugging Face cache: that of
    the model, or the one that models share, which has a folder for each first byte of a hash."""
    if not name.isprintable() or len(name.encode()) > 255 or name.startswith(".") or set(name) & set("/\\:"):
        return False
    home, holder = folder.resolve(), (folder / name).resolve().parent
    if home.parent.name == "snapshots" and (holder == home.parents[1] / "blobs"
                                            or holder.parent == home.parents[1].parent / "blobs"):
        return True
    return bool(name) and holder == home


def read_shards(folder: Path) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """The tensors of all files in the index, and the names in the index that no file has, with their files.

    Any other difference between index and files is an error.
    """
    index = read_json(folder / INDEX_FILE)
    mapping = index.get("weight_map")
    if not isinstance(mapping, dict) or not mapping or not all(isinstance(v, str) for v in mapping.values()):
        raise CheckpointError(f"{folder / INDEX_FILE} has no weight_map from tensor names to file names")
    tensors: dict[str, TensorInfo] = {}
    files = sorted(set(mapping.values()))
    for name in files:
        if not _inside(name, folder):
            raise CheckpointError(f"{folder / INDEX_FILE} names {name[:200]!r}, which is not a file of its folder")
    gone = [name for name in files if not (folder / name).exists()]
    if gone:
        raise CheckpointError(f"{len(gone)} of the {len(files)} shards that the index names are missing: "
                              f"{gone[0][:200]} does not exist in {folder}; download them again")
    for name in files:
        for info in read_header(folder / name).values():
            if mapping.get(info.name) != name:
                raise CheckpointError(f"{name[:200]!r} holds tensor {info.name[:200]!r}, but the index does not say so")
            tensors[info.name] = info
    absent = {name: file for name, file in mapping.items() if name not in tensors}
    metadata, held = index.get("metadata"), sum(info.nbytes for info in tensors.values())
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    if total is not None and total != held and not absent:
        warnings.warn(f"the index specifies {str(total)[:40]} bytes, but the shards hold {held}", stacklevel=2)
    return tensors, absent


def read_rows(info: TensorInfo, rows: slice = slice(None)) -> NDArray[Any]:
    """Rows of a tensor as stored, with BF16 as uint16. A scalar is one element.

    Raises CheckpointError if the file has become shorter or cannot be read.
    """
    shape = info.shape or (1,)
    start, stop, _ = rows.indices(shape[0])
    row_bytes = info.nbytes // shape[0]
    values = np.empty((max(stop - start, 0), *shape[1:]), DTYPES[info.dtype])
    try:
        with info.file.open("rb", buffering=0) as file:
            file.seek(info.offset + start * row_bytes)
            view, read = values.reshape(-1).view(np.uint8).data, 0
            while read < len(view):
                count = file.readinto(view[read:])
                if not count:
                    raise CheckpointError(f"{info.file} ends inside tensor {info.name}: the file was truncated "
                                          "while it was read")
                read += count
    except OSError as error:
        raise CheckpointError(f"{info.file} cannot be read: {error.strerror}") from error
    return values
