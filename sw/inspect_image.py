"""What an image holds: `describe_image` collects it as JSON-able data, `image_lines` says it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hw.contract.config import PRESETS, AccelConfig, ceil_div
from hw.contract.isa import Opcode
from sw.errors import ImageError
from sw.image import ModelImage, image_header
from sw.model_shape import ModelShape
from sw.program import layer_packets, region_sizes

__all__ = ["describe_image", "image_lines", "token_bytes"]


def token_bytes(config: AccelConfig, shape: ModelShape) -> dict[str, Any]:
    """Bytes of decoding a token of one sequence, without cached positions.

    `read` is what is read; `required` is what weights take without padding: ceil(K M / 5) bytes of a BitLinear, and a
    head of int8 rows with float32 scales; `overhead` is the part by which more is read.
    """
    sizes = region_sizes(config, shape)
    matrices = [packet.fields for packet in layer_packets(config, shape) if packet.opcode is Opcode.MATMUL]
    required = {
        "weights": sum(ceil_div(fields["k"] * fields["m"], 5) for fields in matrices),
        "head": shape.vocab * (shape.hidden + 4),
    }
    read = {"stream": sizes["stream"], "head": sizes["head"], "embed": shape.embed_stride(config),
            "rope": shape.rope_stride(config)}
    return {"required": required, "read": read, "overhead": sum(read.values()) / sum(required.values()) - 1}


def describe_image(path: Path) -> dict[str, Any]:
    """The contents of an image of a preset. All of it is read and checked; raises ImageError."""
    build_id = image_header(path).build_id
    config = next((c for c in PRESETS.values() if c.build_id == build_id), None)
    if config is None:
        raise ImageError(f"{path} was packed for build {build_id:016x}, which is none of the presets")
    image = ModelImage.open(path, config)
    image.verify()
    shape = image.shape
    return {
        "image": str(path),
        "preset": config.name,
        "build_id": f"{build_id:016x}",
        "shape": dataclasses.asdict(shape),
        "image_bytes": len(image.memory),
        "regions": {r.name: {"offset": r.offset, "bytes": r.size, "area_bytes": r.area, "crc32": f"{r.crc32:08x}"}
                    for r in image.regions.values()},
        "kv_bytes": shape.sequences * shape.slot_stride(config),
        "token_bytes": token_bytes(config, shape),
    }


def image_lines(description: dict[str, Any]) -> Iterator[str]:
    """The description for people."""
    shape, token = description["shape"], description["token_bytes"]
    yield f"preset {description['preset']}, build {description['build_id']}"
    yield (f"model: {shape['layers']} layers, hidden {shape['hidden']}, FFN {shape['intermediate']}, "
           f"{shape['heads']} heads and {shape['kv_heads']} KV heads of {shape['head_dim']}, "
           f"vocabulary {shape['vocab']}; context {shape['context']}, {shape['sequences']} KV slots")
    for name, region in description["regions"].items():
        yield f"{name:8} {region['bytes']:>14,} bytes at {region['offset']:#x}, CRC {region['crc32']}"
    yield f"{'total':8} {description['image_bytes']:>14,} bytes; the KV cache takes {description['kv_bytes']:,} more"
    read, required = (sum(token[name].values()) for name in ("read", "required"))
    yield f"{'a token':8} {read:>14,} bytes read, {required:,} required: {token['overhead']:.3%} more"
