"""Layouts of published checkpoints: sizes of the model, special tokens, chat template and generation settings.

Only layouts that this project can run are here; `OTHERS` has those that it cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sw.errors import CheckpointError

__all__ = ["LAYOUTS", "Layout", "layout"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a published checkpoint is like.

    Attributes:
        published: its name on the Hugging Face hub.
        fields: of `sim.random_checkpoint.RandomModel`, without the seed and the token ids.
        special: tokens that a text does not contain; their ids follow those of the other tokens.
        reserved: name of further special tokens, with a place for their number.
        reserved_tokens: how many of them there are, if the vocabulary is large enough.
        bos: special token that begins a text.
        ends: special tokens that end a text or a turn; the first is `eos_token`, the second `eot_token`.
        chat_template: as in `chat_template.jinja`.
        generation: what `generation_config.json` holds besides token ids.
    """

    published: str
    fields: Mapping[str, Any]
    special: tuple[str, ...]
    reserved: str
    reserved_tokens: int
    bos: str
    ends: tuple[str, str]
    chat_template: str
    generation: Mapping[str, Any]


_2B_4T = Layout(
    published="microsoft/bitnet-b1.58-2B-4T",
    fields=MappingProxyType({
        "hidden": 2560, "intermediate": 6912, "layers": 30, "heads": 20, "kv_heads": 5, "head_dim": 128,
        "vocab": 128256, "positions": 4096, "rope_theta": 500000.0,
    }),
    special=(
        "<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
        "<|reserved_special_token_2|>", "<|reserved_special_token_3|>", "<|start_header_id|>", "<|end_header_id|>",
        "<|reserved_special_token_4|>", "<|eot_id|>",
    ),
    reserved="<|reserved_special_token_{}|>",
    reserved_tokens=246,
    bos="<|begin_of_text|>",
    ends=("<|end_of_text|>", "<|eot_id|>"),
    chat_template=(
        "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
        "{{ message['role'] | capitalize + ': ' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
    ),
    generation=MappingProxyType({"do_sample": True, "temperature": 0.6, "top_p": 0.9, "max_length": 4096}),
)

LAYOUTS: Mapping[str, Layout] = MappingProxyType({
    "2b-4t": _2B_4T,
    "2b-4t-bf16": Layout(**vars(_2B_4T) | {
        "published": f"{_2B_4T.published}-bf16", "fields": MappingProxyType({**_2B_4T.fields, "master_weights": True}),
    }),
})
"""By the name that `--like` takes."""

_LLAMA = "a Llama with BitNet layers: SiLU, no sub-norms"
_OLDER = "a BitnetForCausalLM: SiLU, norms at other places"

OTHERS: Mapping[str, str] = MappingProxyType({
    "falcon-e-1b": _LLAMA, "falcon-e-3b": _LLAMA, "falcon3-1b": _LLAMA, "falcon3-3b": _LLAMA, "falcon3-7b": _LLAMA,
    "falcon3-10b": _LLAMA, "llama3-8b": _LLAMA, "bitnet-large": _OLDER, "bitnet-xl": _OLDER, "bitnet-3b": _OLDER,
})
"""Layouts of ternary models that this project does not run (`sw/families.py`), and what they are."""


def layout(name: str) -> Layout:
    """The layout of that name. Raises CheckpointError if there is none."""
    if name in LAYOUTS:
        return LAYOUTS[name]
    known = f"use {' or '.join(LAYOUTS)}"
    if name in OTHERS:
        raise CheckpointError(f"{name} is {OTHERS[name]}, which this program does not run: {known}")
    raise CheckpointError(f"there is no layout {name!r}: {known}")
