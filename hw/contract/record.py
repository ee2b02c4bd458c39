"""What hardware and host exchange as bytes: layouts of unsigned fields, little endian."""

from __future__ import annotations

from collections.abc import Mapping

from amaranth.lib import data

__all__ = ["record_bytes", "record_fields"]


def record_bytes(layout: data.StructLayout | data.FlexibleLayout, fields: Mapping[str, int]) -> bytes:
    """A record of these fields, the others 0."""
    return layout.const(fields).as_bits().to_bytes(layout.size // 8, "little")


def record_fields(layout: data.StructLayout | data.FlexibleLayout, content: bytes) -> dict[str, int]:
    """The fields, by name, of the record at the start of a content."""
    bits = int.from_bytes(content[: layout.size // 8], "little")
    return {str(name): bits >> field.offset & (1 << field.width) - 1 for name, field in layout}
