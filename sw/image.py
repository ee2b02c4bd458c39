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
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hw.contract.config import STRIPE_BYTES, AccelConfig, ConfigError, ceil_div
from sw.errors import ImageError
from sw.file_kind import path_kind
from sw.image_check import check_headers, check_numbers
from sw.model_config import CheckpointError, parse_json
from sw.model_shape import ModelShape
from sw.program import head_packet, layer_packets, region_sizes

__all__ = ["HEADER_SIZE", "ImageWriter", "ModelImage", "Region", "VERSION", "image_header", "write_mem"]

MAGIC = b"BN158IMG"
VERSION = 3
HEADER_SIZE = 4096
STREAMED = ("stream", "head")
"""Regions that are read through all ports."""

_FIXED = struct.Struct("<8sIIQQI")  # magic, version, regions, build id, total bytes, JSON bytes
_REGION = struct.Struct("<8sQQI")  # name, offset, bytes, CRC-32
_CHUNK = 1 << 22


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


def layout(config: AccelConfig, shape: ModelShape) -> tuple[dict[str, Region], int]:
    """Where the regions of an image lie, still without CRCs, and the bytes of the whole file.

    Raises ConfigError for a model whose tables lie further than the 32 bits of an offset go.
    """
    regions, end = {}, HEADER_SIZE
    unit = HEADER_SIZE if config.ports == 1 else STRIPE_BYTES
    for name, size in region_sizes(config, shape).items():
        offset, area = ceil_div(end, unit) * unit, _area(config, name, size)
        if offset >> 32:
            raise ConfigError(f"the model is too large: its {name} lies {offset} bytes from the start of the image, "
                              "but offsets have 32 bits")
        regions[name] = Region(name, offset, size, area, 0)
        end = offset + area
    return regions, ceil_div(end, HEADER_SIZE) * HEADER_SIZE


def _swap(config: AccelConfig, content: np.ndarray, *, to_stripes: bool) -> np.ndarray:
    """Bytes in the order of the stream to bytes in the order of memory, or back; whole rows of stripes."""
    order = (-1, STRIPE_BYTES // config.beat_bytes, config.ports, config.beat_bytes)
    if not to_stripes:
        order = (-1, config.ports, STRIPE_BYTES // config.beat_bytes, config.beat_bytes)
    return content.reshape(order).swapaxes(1, 2).reshape(-1)


class ImageWriter:
    """Fills a file with regions, in the order of `layout`; `finish` puts the header in front of them."""

    def __init__(self, file: BinaryIO, config: AccelConfig, shape: ModelShape) -> None:
        self.config, self.shape = config, shape
        self._file = file
        self._planned, self._total = layout(config, shape)
        self._regions: list[Region] = []

    @contextmanager
    def region(self, name: str) -> Iterator[Callable[[bytes], None]]:
        """Gives a function that appends bytes; the region ends with the block."""
        planned = self._planned[name]
        self._file.seek(planned.offset)
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
        if size != planned.size:
            raise RuntimeError(f"region {name} was filled with {size} bytes, not with {planned.size}")
        self._regions.append(dataclasses.replace(planned, crc32=crc))

    def finish(self) -> None:
        """Nothing may follow."""
        self._file.write(bytes(self._total - self._file.tell()))
        self._file.seek(0)
        self._file.write(self._header())

    def _header(self) -> bytes:
        text = json.dumps({"preset": self.config.name, **dataclasses.asdict(self.shape)}, sort_keys=True).encode()
        head = _FIXED.pack(MAGIC, VERSION, len(self._regions), self.config.build_id, self._total, len(text))
        for r in self._regions:
            head += _REGION.pack(r.name.encode(), r.offset, r.size, r.crc32)
        head = (head + text).ljust(HEADER_SIZE - 4, b"\0")
        return head + struct.pack("<I", zlib.crc32(head))


@dataclass(frozen=True)
class ImageHeader:
    """What the header of a file says: nothing of it but its CRC and the size of the file is checked."""

    build_id: int
    preset: str
    size: int
    table: list[tuple[bytes, int, int, int]]
    shape: dict[str, Any]


def image_header(path: Path) -> ImageHeader:
    """Raises ImageError for a file that is no image, or a damaged or truncated one."""
    if not path.is_file():
        raise ImageError(f"{path} is not a file")
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(HEADER_SIZE)
    if len(head) < HEADER_SIZE or head[:8] != MAGIC:
        raise ImageError(f"{path} is not a model image: it {path_kind(path)}")
    if zlib.crc32(head[:-4]) != struct.unpack("<I", head[-4:])[0]:
        raise ImageError(f"{path}: the header is damaged (CRC differs)")
    _, version, count, build_id, total, text_size = _FIXED.unpack_from(head)
    if version != VERSION:
        raise ImageError(f"{path} has format version {version}; this program reads {VERSION}: pack it again")
    if total != size:
        raise ImageError(f"{path} has {size} bytes, its header says {total}: the file is truncated or damaged")
    start = _FIXED.size + count * _REGION.size
    if start + text_size > HEADER_SIZE - 4:
        raise ImageError(f"{path}: the region table does not fit the header")
    table = [_REGION.unpack_from(head, _FIXED.size + i * _REGION.size) for i in range(count)]
    try:
        values = parse_json(head[start : start + text_size], "the shape of the model")
    except CheckpointError as error:
        raise ImageError(f"{path}: {error}") from error
    return ImageHeader(build_id, str(values.pop("preset", "?"))[:40], size, table, values)


def _regions(
    config: AccelConfig, shape: ModelShape, table: list[tuple[bytes, int, int, int]], size: int
) -> dict[str, Region]:
    """The regions of a file of so many bytes whose table is that of the shape; ImageError where it is not."""
    planned, total = layout(config, shape)
    if len(table) != len(planned):
        raise ImageError(f"there are {len(table)} regions, expected {len(planned)}")
    if size != total:
        raise ImageError(f"the file has {size} bytes, but the shape of the model implies {total}")
    regions = {}
    for region, (name, offset, length, crc) in zip(planned.values(), table, strict=True):
        found, expected = (name.rstrip(b"\0"), offset, length), (region.name.encode(), region.offset, region.size)
        if found != expected:
            raise ImageError(f"the region table has {length} bytes of {found[0]!r} at {offset}, "
                             f"but the shape of the model implies {region.size} of {expected[0]!r} at {region.offset}")
        regions[region.name] = dataclasses.replace(region, crc32=crc)
    return regions


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
        """Checks all but the content of the payloads: what the header says of the model decides what everything else
        in the file must be.

        Raises ImageError for a damaged or untrue header, a truncated file, an image of another build, or packets that
        do not make up the model.
        """
        header = image_header(path)
        if header.build_id != config.build_id:
            raise ImageError(
                f"{path} was packed for preset {header.preset} (build {header.build_id:016x}), not for {config.name} "
                f"(build {config.build_id:016x}): pack it again"
            )
        try:
            shape = ModelShape.parse(header.shape)
            shape.check(config)
            regions = _regions(config, shape, header.table, header.size)
            image = cls(path, config, shape, regions, np.memmap(path, dtype=np.uint8, mode="r"))
            check_headers(config, layer_packets(config, shape), partial(image.content, "stream"))
            check_headers(config, [head_packet(config, shape)], partial(image.content, "head"))
        except (ConfigError, ImageError) as error:
            raise ImageError(f"{path}: {error}") from error
        return image

    def content(self, name: str, start: int, stop: int) -> np.ndarray:
        """Bytes start to stop of the content of a region; not copied, unless it is striped over ports."""
        region, stripes = self.regions[name], _stripes(self.config, name)
        row = 1 if stripes == 1 else stripes * STRIPE_BYTES
        first = start // row * row
        area = self.memory[region.offset + first : region.offset + ceil_div(stop, row) * row]
        if stripes > 1:
            area = _swap(self.config, area, to_stripes=False)
        return area[start - first : stop - first]

    def view(self, name: str) -> np.ndarray:
        """Content of a region; not copied, unless it is striped over ports."""
        return self.content(name, 0, self.regions[name].size)

    def verify(self) -> None:
        """Recomputes every region's CRC and looks at its numbers; raises ImageError that names the region."""
        for r in self.regions.values():
            crc = 0
            for start in range(r.offset, r.offset + r.area, _CHUNK):
                crc = zlib.crc32(self.memory[start : min(start + _CHUNK, r.offset + r.area)], crc)
            if crc != r.crc32:
                raise ImageError(f"{self.path}: region {r.name} is damaged (CRC {crc:08x}, expected {r.crc32:08x})")
            try:
                check_numbers(self.config, self.shape, r.name, partial(self.content, r.name))
            except ImageError as error:
                raise ImageError(f"{self.path}: {error}") from error


def write_mem(image: ModelImage, config: AccelConfig, file: BinaryIO) -> None:
    """Text for $readmemh: one beat per line, most significant byte first; the block RAM that holds it starts at 0."""
    beats = np.asarray(image.memory).reshape(-1, config.beat_bytes)
    for start in range(0, len(beats), _CHUNK // config.beat_bytes):
        part = beats[start : start + _CHUNK // config.beat_bytes, ::-1]
        file.writelines(row.tobytes().hex().encode() + b"\n" for row in part)
