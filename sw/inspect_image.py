"""Content of an image: `describe_image` returns it as JSON-able data, `image_lines` formats it as text."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hw.contract.config import PRESETS, AccelConfig, ceil_div
from hw.contract.isa import Opcode
from sw.errors import ImageError
from sw.image import ModelImage, image_header
from sw.model_plan import ModelPlan

__all__ = ["describe_image", "image_lines", "token_bytes"]


def token_bytes(plan: ModelPlan) -> dict[str, Any]:
    """Bytes read from memory to decode one token of one sequence, without the KV cache.

    `read` is the total; `required` counts weights without padding: ceil(K M / 5) bytes for each BitLinear, and a head
    of int8 rows with float32 scales; `overhead` is (read - required) / required.
    """
    matrices = [packet.operands for packet in plan.layer_packets if packet.opcode is Opcode.MATMUL]
    required = {
        "weights": sum(ceil_div(one["in_features"] * one["out_features"], 5) for one in matrices),
        "head": plan.shape.vocab * (plan.shape.hidden + 4),
    }
    read = {"stream": plan.regions["stream"].size, "head": plan.regions["head"].size, "embed": plan.embed_stride,
            "rope": plan.rope_stride}
    return {"required": required, "read": read, "overhead": sum(read.values()) / sum(required.values()) - 1}


def describe_image(path: Path, config: AccelConfig | None = None) -> dict[str, Any]:
    """The contents of an image of a configuration; None: of whichever preset it was packed for.

    All of it is read and checked; raises ImageError.
    """
    header = image_header(path)
    build_id = header.build_id
    config = config or next((c for c in PRESETS.values() if c.build_id == build_id), None)
    if config is None:
        raise ImageError(f"{path} was packed for {header.preset}, build {build_id:016x}, which no preset of this "
                         "release has: name its TOML file with --preset, or pack it again")
    image = ModelImage.open(path, config)
    image.verify()
    return {
        "image": str(path),
        "preset": config.name,
        "build_id": f"{build_id:016x}",
        "shape": dataclasses.asdict(image.plan.shape),
        "image_bytes": len(image.memory),
        "regions": {name: {"offset": region.offset, "bytes": region.size, "area_bytes": region.area,
                           "crc32": f"{image.crcs[name]:08x}"} for name, region in image.plan.regions.items()},
        "kv_bytes": image.plan.kv_bytes,
        "token_bytes": token_bytes(image.plan),
    }


def image_lines(description: dict[str, Any]) -> Iterator[str]:
    """Lines of text for the result of `describe_image`."""
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
