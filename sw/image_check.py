"""Checks of the regions of an image against the model's shape in the header. Correct CRCs do not imply a valid image.

Functions take `read(start, stop)`, which returns bytes of a region's content, so that no region is held in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from hw.contract.config import AccelConfig
from hw.contract.high_plane import STEP
from hw.contract.isa import LAYOUTS, Opcode
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.record import record_bytes, record_fields
from sw.errors import ImageError
from sw.model_plan import ModelPlan
from sw.packet import MODEL_FLOAT, Packet

__all__ = ["check_headers", "check_numbers"]

Read = Callable[[int, int], NDArray[np.uint8]]

_CHUNK = 1 << 22
_REPACK = "pack the image again"
_UNUSED = (1 << (32 - FLOAT_BITS)) - 1
"""Mantissa bits of a float32 word that are 0 in a machine float."""
_ONE = 0x3F800000
_POSITIVE = 0x7F7FFFFF
"""Largest float32 word that is positive and finite."""


def check_headers(config: AccelConfig, region: str, packets: Iterable[Packet], read: Read) -> None:
    """Compare the packet headers of a region with those of the plan.

    Raises:
        ImageError: a header differs; the message names region, packet, field, value and expected value.
    """
    at = 0
    for number, packet in enumerate(packets):
        found = read(at, at + config.header_bytes).tobytes()
        layout = LAYOUTS[packet.opcode]
        fields = record_fields(layout, found)
        where = f"region {region}, packet {number}, {packet.opcode.name},"
        free = MODEL_FLOAT.get(packet.opcode)
        word = fields[free] if free else 0
        if free and not _floats(np.array([word]), _POSITIVE, zero=packet.opcode is Opcode.MATMUL):
            value = np.array([word], dtype="<u4").view("<f4")[0]
            least = ">= 0" if packet.opcode is Opcode.MATMUL else "> 0"
            raise ImageError(f"{where} has {free} {value:g} ({word:#010x}), but it must be a machine float {least} "
                             f"(docs/numerics.md): {_REPACK}")
        expected = packet.header(config, word)
        if found != expected:
            wanted = record_fields(layout, expected)
            name = next(name for name in (*fields, "") if name != "crc" and fields.get(name) != wanted.get(name, 0))
            if not name and found != record_bytes(layout, fields).ljust(len(found), b"\0"):
                raise ImageError(f"{where} has bits set in its header that {packet.opcode.name} does not use: "
                                 f"{_REPACK}")
            name = name or "crc"
            raise ImageError(f"{where} has {name} {fields[name]}, but the shape of the model implies {wanted[name]}: "
                             f"{_REPACK}")
        at += packet.total_bytes(config)


def check_numbers(plan: ModelPlan, name: str, read: Read) -> None:
    """Check that float payloads and float tables of a region hold only machine floats or bf16 numbers.

    int8 and ternary codes are not checked, because every byte value is valid.

    Raises:
        ImageError: a number is invalid, or the dither of a split head; the message names packet or table.
    """
    for where, ok in _NUMBERS[name](plan, read):
        if not ok:
            raise ImageError(f"{where} contains a value that is not a machine float, such as NaN or infinity: "
                             f"{_REPACK}")


def _floats(words: NDArray[np.integer], most: int, *, signed: bool = False, zero: bool = True) -> bool:
    """Whether float32 words are machine floats with magnitude words up to `most`: no denormals, unused bits 0."""
    size = words & 0x7FFFFFFF if signed else words
    fits = (words & _UNUSED == 0) & (size <= most) & (size >> 23 != 0)
    return bool((fits | (words == 0)).all() if zero else fits.all())


def _bf16(codes: NDArray[np.uint16]) -> bool:
    return not (codes & 0x7F80 == 0x7F80).any()


def _rows(read: Read, stride: int, count: int, start: int = 0) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield blocks of rows of a table, each with the number of its first row."""
    step = max(1, _CHUNK // stride)
    for first in range(0, count, step):
        last = min(count, first + step)
        yield first, read(start + first * stride, start + last * stride).reshape(last - first, stride)


def _words(rows: NDArray[np.uint8]) -> NDArray[np.uint32]:
    return np.ascontiguousarray(rows).view("<u4")


def _stream(plan: ModelPlan, read: Read) -> Iterator[tuple[str, bool]]:
    at = 0
    for packet in plan.layer_packets:
        end = at + packet.total_bytes(plan.config)
        if packet.opcode is Opcode.LOAD_NORM:
            yield f"{packet.tensor} in region stream", _bf16(read(end - packet.payload_bytes, end).view("<u2"))
        at = end


def _lm_head(plan: ModelPlan, read: Read) -> Iterator[tuple[str, bool]]:
    stride, start = plan.head_layout.group_bytes, plan.config.header_bytes
    for first, groups in _rows(read, stride, plan.lm_head_packet.payload_bytes // stride, start):
        good = _floats(_words(groups[:, : plan.config.stream_bytes]), _POSITIVE)
        yield f"region head, scales from row {first * plan.head_layout.group_rows} on,", good


def _high(plan: ModelPlan, read: Read) -> Iterator[tuple[str, bool]]:
    """Its dither is checked as well: what is not 1 to 17 is a value that no packer writes."""
    plane, start, beat = plan.high_plane, plan.config.header_bytes, plan.config.stream_bytes
    first = read(start, start + plane.dither.payload_bytes).reshape(-1, beat)
    complements = first[1 : 1 + plane.dither.row_beats, : plan.config.beat_bytes].reshape(-1)[: plane.hidden]
    if not ((complements >= 1) & (complements <= STEP)).all():
        raise ImageError(f"region high has a dither that is not 1 to {STEP}: {_REPACK}")
    start, stride = start + plane.dither.payload_bytes, plane.packed.group_bytes
    for number, groups in _rows(read, stride, plane.packed.groups, start):
        good = _floats(_words(groups[:, :beat]), _POSITIVE)
        yield f"region high, scales from row {number * plane.packed.group_rows} on,", good


def _embed(plan: ModelPlan, read: Read) -> Iterator[tuple[str, bool]]:
    for first, rows in _rows(read, plan.embed_stride, plan.shape.vocab):
        bf16 = plan.config.embedding_bits == 16
        good = _bf16(rows.view("<u2")) if bf16 else _floats(_words(rows[:, :4]), _POSITIVE)
        yield f"region embed, from row {first} on,", good


def _rope(plan: ModelPlan, read: Read) -> Iterator[tuple[str, bool]]:
    for first, rows in _rows(read, plan.rope_stride, plan.shape.context):
        yield f"region rope, from row {first} on,", _floats(_words(rows), _ONE, signed=True)


_NUMBERS = {"stream": _stream, "head": _lm_head, "embed": _embed, "rope": _rope, "high": _high}
