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
    many rows of logits, `row_bytes` from one to the next, or shortlists, `list_bytes` from one to the next.
    """

    image: int
    kv: int
    prompt: int
    tokens: int
    logits: int
    end: int
    rows: int
    row_bytes: int
    list_bytes: int

    @classmethod
    def of(
        cls, *, image_bytes: int, kv_bytes: int, prompt_bytes: int, rows: int, row_bytes: int, list_bytes: int,
    ) -> Layout:
        """Areas of these sizes from address 0 on."""
        kv = _after(0, image_bytes)
        prompt = _after(kv, kv_bytes)
        tokens = _after(prompt, prompt_bytes)
        logits = _after(tokens, 4 * rows)
        end = _after(logits, rows * max(row_bytes, list_bytes))
        return cls(0, kv, prompt, tokens, logits, end, rows, row_bytes, list_bytes)

    def moved(self, base: int) -> Layout:
        """The same layout, shifted by `base` bytes, a multiple of ALIGNMENT."""
        return replace(self, image=self.image + base, kv=self.kv + base, prompt=self.prompt + base,
                       tokens=self.tokens + base, logits=self.logits + base, end=self.end + base)

    def used_end(self, request: Request) -> int:
        """End address of the memory that a request uses, a multiple of 4 KiB. Logits count only if requested."""
        rows = min(request.logit_rows(request.most_tokens), self.rows)
        return _after(self.logits, rows * self.logits_bytes(request.logits_mode))

    def logits_bytes(self, mode: LogitsMode) -> int:
        """Bytes from one row of logits, or shortlist, to the next; 0 if none are requested."""
        return {LogitsMode.NONE: 0, LogitsMode.BEST: self.list_bytes}.get(mode, self.row_bytes)
