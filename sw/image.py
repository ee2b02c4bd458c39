"""Format of the model image, a file that is copied byte for byte to the accelerator's memory. sw/pack.py fills it.

Layout: a 4096-byte header (fixed fields, region table, JSON of the model's shape, CRC), then regions at multiples of
4096 bytes: `stream` (packet stream of the layers, docs/isa.md), `head` (its packet), `embed`, `rope`, and with a split
head `high` (the packet of its high plane). On a machine with several ports those of packets are striped over them.
Every field is in docs/model-image.md.
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
from numpy.typing import NDArray

from hw.contract.config import STRIPE_BYTES, AccelConfig, ConfigError, ceil_div
from sw.errors import ImageError
from sw.file_kind import path_kind
from sw.image_check import check_headers, check_numbers
from sw.model_config import CheckpointError, parse_json
from sw.model_plan import HEADER_SIZE, ModelPlan
from sw.model_shape import ModelShape

__all__ = ["ImageWriter", "ModelImage", "VERSION", "image_header", "write_mem"]

MAGIC = b"BN158IMG"
VERSION = 4

SPLIT = "split"
"""`head` in the JSON of an image with a high plane; others do not have the key."""

_FIXED = struct.Struct("<8sIIQQI")  # magic, version, regions, build id, total bytes, JSON bytes
_REGION = struct.Struct("<8sQQI")  # name, offset, bytes, CRC-32
_CHUNK = 1 << 22


def _swap(config: AccelConfig, content: NDArray[np.uint8], *, to_stripes: bool) -> NDArray[np.uint8]:
    """Reorder whole rows of stripes from stream order to memory order (`to_stripes`), or back."""
    order = (-1, STRIPE_BYTES // config.beat_bytes, config.ports, config.beat_bytes)
    if not to_stripes:
        order = (-1, config.ports, STRIPE_BYTES // config.beat_bytes, config.beat_bytes)
    return content.reshape(order).swapaxes(1, 2).reshape(-1)


class ImageWriter:
    """Writes the regions of a plan to a file, in the plan's order. `finish` writes the header before them."""

    def __init__(self, file: BinaryIO, plan: ModelPlan) -> None:
        self._file, self._plan = file, plan
        self._crcs: dict[str, int] = {}

    @contextmanager
    def region(self, name: str) -> Iterator[Callable[[bytes], None]]:
        """Context of one region: yields a function that appends bytes. Raises RuntimeError if the size is wrong."""
        planned = self._plan.regions[name]
        self._file.seek(planned.offset)
        row = planned.stripes * STRIPE_BYTES
        crc = size = 0
        waiting = bytearray()  # bytes not yet written, less than a row of stripes

        def put(part: bytes) -> None:
            nonlocal crc
            self._file.write(part)
            crc = zlib.crc32(part, crc)

        def swap(content: bytearray) -> bytes:
            return _swap(self._plan.config, np.frombuffer(content, dtype=np.uint8), to_stripes=True).tobytes()

        def write(part: bytes) -> None:
            nonlocal size
            size += len(part)
            if planned.stripes == 1:
                put(part)
                return
            waiting.extend(part)
            whole = len(waiting) // row * row
            if whole:
                put(swap(waiting[:whole]))
                del waiting[:whole]

        yield write
        if waiting:
            put(swap(waiting.ljust(row, b"\0")))
        if size != planned.size:
            raise RuntimeError(f"region {name} was filled with {size} bytes, not with {planned.size}")
        self._crcs[name] = crc

    def finish(self) -> None:
        """Write the header. No region may follow."""
        self._file.write(bytes(self._plan.image_bytes - self._file.tell()))
        self._file.seek(0)
        self._file.write(self._header())

    def _header(self) -> bytes:
        config, regions = self._plan.config, self._plan.regions.values()
        head = {"head": SPLIT} if self._plan.split else {}
        values = {"preset": config.name, **head, **dataclasses.asdict(self._plan.shape)}
        text = json.dumps(values, sort_keys=True).encode()
        start = _FIXED.pack(MAGIC, VERSION, len(regions), config.build_id, self._plan.image_bytes, len(text))
        for r in regions:
            start += _REGION.pack(r.name.encode(), r.offset, r.size, self._crcs[r.name])
        start = (start + text).ljust(HEADER_SIZE - 4, b"\0")
        return start + struct.pack("<I", zlib.crc32(start))


@dataclass(frozen=True)
class ImageHeader:
    """Fields of an image header. Only the header's CRC and the size of the file have been checked."""

    build_id: int
    preset: str
    split: bool
    size: int
    table: list[tuple[bytes, int, int, int]]
    shape: dict[str, Any]


def image_header(path: Path) -> ImageHeader:
    """Read the header of an image. Raises ImageError if the file is not an image, damaged or truncated."""
    if not path.is_file():
        raise ImageError(f"{path} is not a file")
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(HEADER_SIZE)
    if head[:8] != MAGIC:
        raise ImageError(f"{path} {path_kind(path)}")
    if len(head) < HEADER_SIZE:
        raise ImageError(f"{path} has {len(head)} bytes, less than the header of a model image: the file is truncated; "
                         "copy or pack it again")
    if zlib.crc32(head[:-4]) != struct.unpack("<I", head[-4:])[0]:
        raise ImageError(f"{path}: the header is damaged (CRC differs): pack it again")
    _, version, count, build_id, total, text_size = _FIXED.unpack_from(head)
    if version != VERSION:
        raise ImageError(f"{path} has format version {version}; this program reads {VERSION}: pack it again")
    if total != size:
        raise ImageError(f"{path} has {size} bytes instead of the {total} in its header: the file is truncated or "
                         "damaged; copy or pack it again")
    start = _FIXED.size + count * _REGION.size
    if start + text_size > HEADER_SIZE - 4:
        raise ImageError(f"{path}: the region table does not fit in the header: pack it again")
    table = [_REGION.unpack_from(head, _FIXED.size + i * _REGION.size) for i in range(count)]
    try:
        values = parse_json(head[start : start + text_size], "the shape of the model")
    except CheckpointError as error:
        raise ImageError(f"{path}: {error}") from error
    preset, head = str(values.pop("preset", "?"))[:40], values.pop("head", None)
    if head not in (None, SPLIT):
        raise ImageError(f"{path}: the header says of the head {str(head)[:40]!r}, but it must be {SPLIT!r} or left "
                         "out: pack it again")
    return ImageHeader(build_id, preset, head == SPLIT, size, table, values)


def _crcs(plan: ModelPlan, header: ImageHeader) -> dict[str, int]:
    """CRC-32 of each region, by name. Raises ImageError if file size or region table differ from the plan."""
    if len(header.table) != len(plan.regions):
        raise ImageError(f"there are {len(header.table)} regions, expected {len(plan.regions)}")
    if header.size != plan.image_bytes:
        raise ImageError(f"the file has {header.size} bytes, but the shape of the model implies {plan.image_bytes}")
    crcs = {}
    for region, (name, offset, length, crc) in zip(plan.regions.values(), header.table, strict=True):
        found, expected = (name.rstrip(b"\0"), offset, length), (region.name.encode(), region.offset, region.size)
        if found != expected:
            raise ImageError(f"the region table has {length} bytes of {found[0]!r} at {offset}, "
                             f"but the shape of the model implies {region.size} of {expected[0]!r} at {region.offset}")
        crcs[region.name] = crc
    return crcs


@dataclass(frozen=True)
class ModelImage:
    """An image opened for reading: memory-mapped, header checked. `crcs` has the CRC-32 of each region, by name."""

    path: Path
    plan: ModelPlan
    crcs: dict[str, int]
    memory: NDArray[np.uint8]

    @classmethod
    def open(cls, path: Path, config: AccelConfig) -> ModelImage:
        """Open an image and check everything but the payloads, based on the model's shape in its header.

        Raises:
            ImageError: the header is damaged or inconsistent, the file is truncated, the image was packed for another
                build, or its packets do not match the model.
        """
        header = image_header(path)
        if header.build_id != config.build_id:
            raise ImageError(
                f"{path} was packed for preset {header.preset} (build {header.build_id:016x}), not for {config.name} "
                f"(build {config.build_id:016x}): pack it again"
            )
        try:
            plan = ModelPlan(config, ModelShape.parse(header.shape), header.split)
            image = cls(path, plan, _crcs(plan, header), np.memmap(path, dtype=np.uint8, mode="r"))
            check_headers(config, "stream", plan.layer_packets, partial(image.content, "stream"))
            check_headers(config, "head", [plan.lm_head_packet], partial(image.content, "head"))
            if plan.split:
                check_headers(config, "high", [plan.high_packet], partial(image.content, "high"))
        except (ConfigError, ImageError) as error:
            raise ImageError(f"{path}: {error}") from error
        return image

    def content(self, name: str, start: int, stop: int) -> NDArray[np.uint8]:
        """Bytes start to stop of a region. The result is a view unless the region is striped over ports."""
        region = self.plan.regions[name]
        row = 1 if region.stripes == 1 else region.stripes * STRIPE_BYTES
        first = start // row * row
        area = self.memory[region.offset + first : region.offset + ceil_div(stop, row) * row]
        if region.stripes > 1:
            area = _swap(self.plan.config, area, to_stripes=False)
        return area[start - first : stop - first]

    def view(self, name: str) -> NDArray[np.uint8]:
        """All bytes of a region. The result is a view unless the region is striped over ports."""
        return self.content(name, 0, self.plan.regions[name].size)

    def verify(self) -> None:
        """Check the CRC and the numbers of every region. Raises ImageError that names the region."""
        for r in self.plan.regions.values():
            crc = 0
            for start in range(r.offset, r.offset + r.area, _CHUNK):
                crc = zlib.crc32(self.memory[start : min(start + _CHUNK, r.offset + r.area)].data, crc)
            if crc != self.crcs[r.name]:
                raise ImageError(f"{self.path}: region {r.name} is damaged (CRC {crc:08x}, expected "
                                 f"{self.crcs[r.name]:08x}): copy or pack the image again")
            try:
                check_numbers(self.plan, r.name, partial(self.content, r.name))
            except ImageError as error:
                raise ImageError(f"{self.path}: {error}") from error


def write_mem(image: ModelImage, file: BinaryIO) -> None:
    """Text for $readmemh: one beat per line, most significant byte first; the block RAM that holds it starts at 0."""
    beats = np.asarray(image.memory).reshape(-1, image.plan.config.beat_bytes)
    step = _CHUNK // image.plan.config.beat_bytes
    for start in range(0, len(beats), step):
        part = beats[start : start + step, ::-1]
        file.writelines(row.tobytes().hex().encode() + b"\n" for row in part)
