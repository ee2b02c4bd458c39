"""Where things lie in a machine's memory: the image, and behind it KV cache, prompt, tokens and logits."""

from __future__ import annotations

from dataclasses import dataclass

from hw.contract.config import BOUNDARY_BYTES, AccelConfig, ceil_div
from hw.contract.payloads import BATCH_ENTRY
from hw.contract.register_map import LogitsMode
from sw.errors import HardwareError
from sw.image import ModelImage
from sw.requests import Request

__all__ = ["ALIGNMENT", "Layout", "used_end"]

ALIGNMENT = 1 << 16
"""An image starts at a multiple: a stripe is as many bytes of an address as of the image (docs/model-image.md)."""


def _after(start: int, size: int) -> int:
    """Where the next area may start behind one of some bytes."""
    return ceil_div(start + size, BOUNDARY_BYTES) * BOUNDARY_BYTES


@dataclass(frozen=True)
class Layout:
    """Byte addresses of things in the machine's memory: the image at `image`, everything else behind it."""

    image: int
    kv: int
    prompt: int
    tokens: int
    logits: int
    end: int
    logits_beats: int

    @classmethod
    def of(cls, config: AccelConfig, image: ModelImage, base: int = 0) -> Layout:
        """Areas start at multiples of 4 KiB, the unit of the machine's windows, from `base` on; there is room for
        `ModelShape.run_rows` tokens and rows of logits.

        Raises HardwareError for a base that is no such multiple, or behind which the machine's addresses end too soon.
        """

        if base % ALIGNMENT:
            raise HardwareError(f"the memory for the model must start at a multiple of {ALIGNMENT}, not at {base:#x}")
        shape = image.shape
        kv = _after(base, len(image.memory))
        prompt = _after(kv, shape.sequences * shape.slot_stride(config))
        tokens = _after(prompt, max(4 * shape.context, BATCH_ENTRY.size // 8 * config.columns))
        logits = _after(tokens, 4 * shape.run_rows(config))
        beats = ceil_div(4 * shape.vocab, config.beat_bytes)
        end = _after(logits, shape.run_rows(config) * beats * config.beat_bytes)
        if end > 1 << config.address_bits:
            raise HardwareError(
                f"the model needs memory to {end:#x}, preset {config.name} has addresses of {config.address_bits} bits"
            )
        return cls(base, kv, prompt, tokens, logits, end, beats)


def used_end(config: AccelConfig, image: ModelImage, layout: Layout, request: Request) -> int:
    """Address behind the last byte that a request may touch, a multiple of 4 KiB: rows of logits count only where they
    are asked for."""
    rows = 0 if request.logits_mode is LogitsMode.NONE else request.heads(request.most_tokens)
    size = min(rows, image.shape.run_rows(config)) * layout.logits_beats * config.beat_bytes
    return _after(layout.logits, size)
