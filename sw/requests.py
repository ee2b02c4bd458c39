"""What is asked of the accelerator. This file is shared by the driver and all links."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Job"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One sequence. `chunk` is how many prompt tokens share a pass over the weights, 1 to T.

    `start_position` is the position of the first prompt token; those before it are in the slot's KV memory already.
    """

    prompt: tuple[int, ...]
    max_new_tokens: int
    slot: int = 0
    start_position: int = 0
    chunk: int
    all_logits: bool = False
