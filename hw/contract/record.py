"""What hardware and host exchange as bytes: layouts of unsigned fields, little endian."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data

__all__ = ["record_bytes", "record_dtype", "record_fields"]


def record_bytes(layout: data.StructLayout | data.FlexibleLayout, fields: Mapping[str, int]) -> bytes:
    """A record of these fields, the others 0."""
    return layout.const(fields).as_bits().to_bytes(layout.size // 8, "little")


def record_fields(layout: data.StructLayout | data.FlexibleLayout, content: bytes) -> dict[str, int]:
    """The fields, by name, of the record at the start of a content."""
    bits = int.from_bytes(content[: layout.size // 8], "little")
    return {str(name): bits >> field.offset & (1 << field.width) - 1 for name, field in layout}


def record_dtype(shape: Any) -> np.dtype:
    """NumPy's type of a layout, or of a part of one. All fields begin at bytes and have 8, 16, 32 or 64 bits."""
    if isinstance(shape, data.ArrayLayout):
        return np.dtype((record_dtype(shape.elem_shape), (shape.length,)))
    if isinstance(shape, data.StructLayout | data.FlexibleLayout):
        fields = [(str(name), field) for name, field in shape]
        return np.dtype({
            "names": [name for name, _ in fields],
            "formats": [record_dtype(field.shape) for _, field in fields],
            "offsets": [field.offset // 8 for _, field in fields],
            "itemsize": shape.size // 8,
        })
    whole = Shape.cast(shape)
    return np.dtype(f"<{'i' if whole.signed else 'u'}{whole.width // 8}")
