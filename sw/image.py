"""The memory image: bytes on disk are bytes in the accelerator's memory. This file is the format; sw/pack.py fills it.

Layout: a 4096-byte header (fixed fields, region table, JSON of the model's shape, CRC), then regions at multiples of
4096 bytes: `stream` (packet stream of the layers, docs/isa.md), `head` (its packet), `embed`, `rope`. On a machine with
several ports the first two are striped over them. Every field is in docs/model-image.md.
"""

from __future__ import annotations

import dataclasses
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hw.config import STRIPE_BYTES, AccelConfig, ConfigError, ceil_div

__all__ = ["HEADER_SIZE", "ImageError", "ImageWriter", "ModelImage", "ModelShape", "Region", "VERSION", "write_mem"]

MAGIC = b"BN158IMG"
VERSION = 2
HEADER_SIZE = 4096
REGION_NAMES = ("stream", "head", "embed", "rope")
STREAMED = ("stream", "head")
"""Regions that are read through all ports."""

_FIXED = struct.Struct("<8sIIQQI")  # magic, version, regions, build id, total bytes, JSON bytes
_REGION = struct.Struct("<8sQQI")  # name, offset, bytes, CRC-32
_CHUNK = 1 << 22


class ImageError(ValueError):
    """An image that is damaged, or made for another build."""


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """What the driver and the golden model must know of the model besides the packet stream."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int
    sequences: int
    bos: int
    eos: tuple[int, ...]

    def check(self, config: AccelConfig) -> None:
        """Raises ConfigError where the preset cannot run the model: one sentence with both numbers."""
        for what, value, most in (
            ("hidden size", self.hidden, config.max_hidden),
            ("FFN size", self.intermediate, config.max_intermediate),
            ("attention width (heads x head_dim)", self.heads * self.head_dim, config.max_hidden),
            ("vocabulary", self.vocab, config.max_vocab),
            ("head_dim", self.head_dim, config.max_head_dim),
            ("number of query heads per KV head", self.heads // self.kv_heads, config.max_group),
            ("context", self.context, config.max_positions),
        ):
            if value > most:
                raise ConfigError(f"the model's {what} is {value}; preset {config.name} runs at most {most}")
        for what, value, unit in (
            ("hidden size", self.hidden, config.vector),
            ("FFN size", self.intermediate, config.vector),
            ("head_dim", self.head_dim, 2 * config.vector),
            ("row of cached elements in bytes", self.head_dim * config.kv_bytes, config.beat_bytes),
        ):
            if value % unit:
                raise ConfigError(f"the model's {what} is {value}; preset {config.name} needs a multiple of {unit}")

    def padded(self, config: AccelConfig, elements: int) -> int:
        """Elements of a matmul result in the work area: whole row blocks, whole groups of 16."""
        return ceil_div(elements, max(16, config.rows)) * max(16, config.rows)

    def head_stride(self, config: AccelConfig) -> int:
        """Bytes from one KV head's cache to the next."""
        return ceil_div(self.context, 16) * config.kv_block_bytes(self.head_dim)

    def layer_stride(self, config: AccelConfig) -> int:
        """Bytes from one layer's cache to the next."""
        return self.kv_heads * self.head_stride(config)

    def slot_stride(self, config: AccelConfig) -> int:
        """Bytes of the KV cache of one sequence."""
        return self.layers * self.layer_stride(config)

    def run_rows(self, config: AccelConfig) -> int:
        """Tokens, and rows of logits, that a run has room for: those of every position, or of a pass of all columns."""
        return max(self.context, config.columns)

    def embed_stride(self, config: AccelConfig) -> int:
        """Bytes of one embedding row: a beat with the float32 row scale unless bf16, then the codes."""
        codes = ceil_div(self.hidden * config.embedding_bits, 8)
        scale = 0 if config.embedding_bits == 16 else config.beat_bytes
        return scale + ceil_div(codes, config.beat_bytes) * config.beat_bytes

    def rope_stride(self, config: AccelConfig) -> int:
        """Bytes of one position: head_dim/2 float32 cosines, then as many sines."""
        return ceil_div(4 * self.head_dim, config.beat_bytes) * config.beat_bytes


@dataclass(frozen=True)
class Region:
    """A named range of the image: `size` bytes of content in `area` bytes of the file, over which the CRC goes."""

    name: str
    offset: int
    size: int
    area: int
    crc32: int


def _stripes(config: AccelConfig, name: str) -> int:
    """Ports that a region is striped over."""
    return config.ports if name in STREAMED else 1


def _area(config: AccelConfig, name: str, size: int) -> int:
    """Bytes of the file that `size` bytes of a region take."""
    stripes = _stripes(config, name)
    return size if stripes == 1 else ceil_div(size, stripes * STRIPE_BYTES) * stripes * STRIPE_BYTES


def _swap(config: AccelConfig, content: np.ndarray, *, to_stripes: bool) -> np.ndarray:
    """Bytes in the order of the stream to bytes in the order of memory, or back; whole rows of stripes."""
    order = (-1, STRIPE_BYTES // config.beat_bytes, config.ports, config.beat_bytes)
    if not to_stripes:
        order = (-1, config.ports, STRIPE_BYTES // config.beat_bytes, config.beat_bytes)
    return content.reshape(order).swapaxes(1, 2).reshape(-1)


class ImageWriter:
    """Fills a file with regions; `finish` puts the header in front of them."""

    def __init__(self, file: BinaryIO, config: AccelConfig, shape: ModelShape) -> None:
        self.config, self.shape = config, shape
        self._file = file
        self._file.seek(HEADER_SIZE)
        self._regions: list[Region] = []

    @contextmanager
    def region(self, name: str) -> Iterator[Callable[[bytes], None]]:
        """Gives a function that appends bytes; the region ends with the block."""
        unit = HEADER_SIZE if self.config.ports == 1 else STRIPE_BYTES
        offset = ceil_div(self._file.tell(), unit) * unit
        self._file.seek(offset)
        stripes = _stripes(self.config, name)
        row = stripes * STRIPE_BYTES
        crc = size = 0
        waiting = bytearray()  # less than a row of stripes

        def put(part: bytes) -> None:
            nonlocal crc
            self._file.write(part)
            crc = zlib.crc32(part, crc)

        def write(part: bytes) -> None:
            nonlocal size
            size += len(part)
            if stripes == 1:
                put(part)
                return
            waiting.extend(part)
            whole = len(waiting) // row * row
            if whole:
                put(_swap(self.config, np.frombuffer(waiting[:whole], dtype=np.uint8), to_stripes=True).tobytes())
                del waiting[:whole]

        yield write
        if waiting:
            put(_swap(self.config, np.frombuffer(waiting.ljust(row, b"\0"), dtype=np.uint8), to_stripes=True).tobytes())
        self._regions.append(Region(name, offset, size, _area(self.config, name, size), crc))

    def finish(self) -> None:
        """Nothing may follow."""
        self._file.write(bytes(-self._file.tell() % HEADER_SIZE))
        total = self._file.tell()
        self._file.seek(0)
        self._file.write(self._header(total))

    def _header(self, total: int) -> bytes:
        text = json.dumps({"preset": self.config.name, **dataclasses.asdict(self.shape)}, sort_keys=True).encode()
        head = _FIXED.pack(MAGIC, VERSION, len(self._regions), self.config.build_id, total, len(text))
        for r in self._regions:
            head += _REGION.pack(r.name.encode(), r.offset, r.size, r.crc32)
        head = (head + text).ljust(HEADER_SIZE - 4, b"\0")
        return head + struct.pack("<I", zlib.crc32(head))


@dataclass(frozen=True)
class ModelImage:
    """An image opened for reading, memory-mapped; header checked, regions by name."""

    path: Path
    config: AccelConfig
    shape: ModelShape
    regions: dict[str, Region]
    memory: np.memmap

    @classmethod
    def open(cls, path: Path, config: AccelConfig) -> ModelImage:
        """Raises ImageError for a damaged header, a truncated file, or an image of another build."""
        if not path.is_file():
            raise ImageError(f"{path} is not a file")
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(HEADER_SIZE)
        if len(head) < HEADER_SIZE or head[:8] != MAGIC:
            raise ImageError(f"{path} is not a model image")
        if zlib.crc32(head[:-4]) != struct.unpack("<I", head[-4:])[0]:
            raise ImageError(f"{path}: the header is damaged (CRC differs)")
        _, version, count, build_id, total, text_size = _FIXED.unpack_from(head)
        if version != VERSION:
            raise ImageError(f"{path} has format version {version}; this program reads {VERSION}: pack it again")
        table_end = _FIXED.size + count * _REGION.size
        if table_end + text_size > HEADER_SIZE - 4:
            raise ImageError(f"{path}: the region table does not fit the header")
        values = json.loads(head[table_end : table_end + text_size])
        made_for = values.pop("preset")
        if build_id != config.build_id:
            raise ImageError(
                f"{path} was packed for preset {made_for} (build {build_id:016x}), not for {config.name} "
                f"(build {config.build_id:016x}): pack it again"
            )
        if total != size:
            raise ImageError(f"{path} has {size} bytes, its header says {total}: the file is truncated or damaged")
        entries = [_REGION.unpack_from(head, _FIXED.size + i * _REGION.size) for i in range(count)]
        names = [entry[0].rstrip(b"\0").decode() for entry in entries]
        regions = {
            name: Region(name, offset, length, _area(config, name, length), crc)
            for name, (_, offset, length, crc) in zip(names, entries, strict=True)
        }
        for r in regions.values():
            if r.offset % HEADER_SIZE or r.offset + r.area > size:
                raise ImageError(f"{path}: region {r.name} lies outside the file")
        if set(regions) != set(REGION_NAMES):
            raise ImageError(f"{path}: regions are {sorted(regions)}, expected {sorted(REGION_NAMES)}")
        values["eos"] = tuple(values["eos"])
        return cls(path, config, ModelShape(**values), regions, np.memmap(path, dtype=np.uint8, mode="r"))

    def view(self, name: str) -> np.ndarray:
        """Content of a region; not copied, unless it is striped over ports."""
        r = self.regions[name]
        area = self.memory[r.offset : r.offset + r.area]
        if _stripes(self.config, name) > 1:
            area = _swap(self.config, area, to_stripes=False)
        return area[: r.size]

    def verify(self) -> None:
        """Recomputes every region's CRC; raises ImageError that names the damaged one."""
        for r in self.regions.values():
            crc = 0
            for start in range(r.offset, r.offset + r.area, _CHUNK):
                crc = zlib.crc32(self.memory[start : min(start + _CHUNK, r.offset + r.area)], crc)
            if crc != r.crc32:
                raise ImageError(f"{self.path}: region {r.name} is damaged (CRC {crc:08x}, expected {r.crc32:08x})")


def write_mem(image: ModelImage, config: AccelConfig, file: BinaryIO) -> None:
    """Text for $readmemh: one beat per line, most significant byte first; the block RAM that holds it starts at 0."""
    beats = np.asarray(image.memory).reshape(-1, config.beat_bytes)
    for start in range(0, len(beats), _CHUNK // config.beat_bytes):
        part = beats[start : start + _CHUNK // config.beat_bytes, ::-1]
        file.writelines(row.tobytes().hex().encode() + b"\n" for row in part)
