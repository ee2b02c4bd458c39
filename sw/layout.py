"""Address map of the accelerator's memory: the image, then KV cache, prompt, tokens and logits."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hw.contract.config import BOUNDARY_BYTES, ceil_div
from hw.contract.register_map import LogitsMode
from sw.requests import Request

__all__ = ["ALIGNMENT", "Layout"]

ALIGNMENT = 1 << 16
"""An image starts at a multiple: a stripe is as many bytes of an address as of the image (docs/model-image.md)."""


def _after(start: int, size: int) -> int:
    """First aligned address after an area of `size` bytes that begins at `start`."""
    return ceil_div(start + size, BOUNDARY_BYTES) * BOUNDARY_BYTES


@dataclass(frozen=True)
class Layout:
    """Byte addresses of things in the machine's memory: the image at `image`, everything else behind it.

    Areas start at multiples of 4 KiB, the unit of the machine's windows. There is room for `rows` tokens, and for as
    many rows of logits, `row_bytes` from one to the next.
    """

    image: int
    kv: int
    prompt: int
    tokens: int
    logits: int
    end: int
    rows: int
    row_bytes: int

    @classmethod
    def of(cls, *, image_bytes: int, kv_bytes: int, prompt_bytes: int, rows: int, row_bytes: int) -> Layout:
        """Areas of these sizes from address 0 on."""
        kv = _after(0, image_bytes)
        prompt = _after(kv, kv_bytes)
        tokens = _after(prompt, prompt_bytes)
        logits = _after(tokens, 4 * rows)
        return cls(0, kv, prompt, tokens, logits, _after(logits, rows * row_bytes), rows, row_bytes)

    def moved(self, base: int) -> Layout:
        """The same layout, shifted by `base` bytes, a multiple of ALIGNMENT."""
        return replace(self, image=self.image + base, kv=self.kv + base, prompt=self.prompt + base,
                       tokens=self.tokens + base, logits=self.logits + base, end=self.end + base)

    def used_end(self, request: Request) -> int:
        """End address of the memory that a request uses, a multiple of 4 KiB. Logits count only if requested."""
        rows = 0 if request.logits_mode is LogitsMode.NONE else request.logit_rows(request.most_tokens)
        return _after(self.logits, min(rows, self.rows) * self.row_bytes)
