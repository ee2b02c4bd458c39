"""Whether the regions of an image say what the header's shape demands. A file with correct CRCs may still lie.

Functions take `read(start, stop)`, which gives bytes of a region's content; none of them holds a region in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from hw.contract.config import AccelConfig
from hw.contract.isa import LAYOUTS, Opcode
from hw.contract.machine_float import FLOAT_BITS
from hw.contract.record import record_bytes, record_fields
from sw.errors import ImageError
from sw.model_plan import ModelPlan
from sw.packet import MODEL_FLOAT, Packet

__all__ = ["check_headers", "check_numbers"]

Read = Callable[[int, int], NDArray[np.uint8]]

_CHUNK = 1 << 22
_UNUSED = (1 << (32 - FLOAT_BITS)) - 1
"""Bits of a float32 word that a machine float does not have."""
_ONE = 0x3F800000
_POSITIVE = 0x7F7FFFFF
"""Largest word without a sign that is neither infinite nor no number."""


def check_headers(config: AccelConfig, packets: Iterable[Packet], read: Read) -> None:
    """Compares the headers of a region, one after the other, with those of its plan.

    Raises ImageError that names packet, field and both numbers.
    """
    at = 0
    for number, packet in enumerate(packets):
        found = read(at, at + config.header_bytes).tobytes()
        layout = LAYOUTS[packet.opcode]
        fields = record_fields(layout, found)
        where = f"packet {number}, {packet.opcode.name},"
        free = MODEL_FLOAT.get(packet.opcode)
        word = fields[free] if free else 0
        if free and not _floats(np.array([word]), _POSITIVE, zero=packet.opcode is Opcode.MATMUL):
            raise ImageError(f"{where} has {free} {word:#010x}, which is no number above 0 of the machine")
        expected = packet.header(config, word)
        if found != expected:
            wanted = record_fields(layout, expected)
            name = next(name for name in (*fields, "") if name != "crc" and fields.get(name) != wanted.get(name, 0))
            if not name and found != record_bytes(layout, fields).ljust(len(found), b"\0"):
                raise ImageError(f"{where} has bits set in its header that {packet.opcode.name} does not use")
            name = name or "crc"
            raise ImageError(f"{where} has {name} {fields[name]}, but the shape of the model implies {wanted[name]}")
        at += packet.total_bytes(config)


def check_numbers(plan: ModelPlan, name: str, read: Read) -> None:
    """Whether the numbers in the payloads of a checked program, or in a table, are numbers of the machine.

    int8 and ternary codes are, whatever their bytes. Raises ImageError.
    """
    for where, ok in _NUMBERS[name](plan, read):
        if not ok:
            raise ImageError(f"{where} holds what is not a number of the machine")


def _floats(words: NDArray[np.integer], most: int, *, signed: bool = False, zero: bool = True) -> bool:
    """Whether float32 words are machine floats, of a magnitude of up to `most`: no denormals, no bits too many."""
    size = words & 0x7FFFFFFF if signed else words
    fits = (words & _UNUSED == 0) & (size <= most) & (size >> 23 != 0)
    return bool((fits | (words == 0)).all() if zero else fits.all())


def _bf16(codes: NDArray[np.uint16]) -> bool:
    return not (codes & 0x7F80 == 0x7F80).any()


def _rows(read: Read, stride: int, count: int, start: int = 0) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Rows of a table, a bounded number at a time, and the number of the first."""
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


def _head(plan: ModelPlan, read: Read) -> Iterator[tuple[str, bool]]:
    stride, start = plan.head_group_bytes, plan.config.header_bytes
    for first, groups in _rows(read, stride, plan.head_packet.payload_bytes // stride, start):
        good = _floats(_words(groups[:, : plan.config.stream_bytes]), _POSITIVE)
        yield f"region head, scales of rows {first * plan.head_group_rows} ff.,", good


def _embed(plan: ModelPlan, read: Read) -> Iterator[tuple[str, bool]]:
    for first, rows in _rows(read, plan.embed_stride, plan.shape.vocab):
        bf16 = plan.config.embedding_bits == 16
        good = _bf16(rows.view("<u2")) if bf16 else _floats(_words(rows[:, :4]), _POSITIVE)
        yield f"region embed, rows {first} ff.,", good


def _rope(plan: ModelPlan, read: Read) -> Iterator[tuple[str, bool]]:
    for first, rows in _rows(read, plan.rope_stride, plan.shape.context):
        yield f"region rope, rows {first} ff.,", _floats(_words(rows), _ONE, signed=True)


_NUMBERS = {"stream": _stream, "head": _head, "embed": _embed, "rope": _rope}
