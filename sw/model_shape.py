"""The shape of a model: what driver, golden model and image must know of it besides the packet stream."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from hw.contract.config import MAX_KV_HEADS, MAX_SLOTS, AccelConfig, ConfigError, ceil_div
from sw.model_config import LIMITS

__all__ = ["ModelShape"]

_MOST = {
    "hidden": LIMITS["hidden_size"],
    "intermediate": LIMITS["intermediate_size"],
    "layers": LIMITS["num_hidden_layers"],
    "heads": LIMITS["num_attention_heads"],
    "kv_heads": LIMITS["num_key_value_heads"],
    "head_dim": LIMITS["head_dim"],
    "vocab": LIMITS["vocab_size"],
    "context": LIMITS["max_position_embeddings"],
    "sequences": MAX_SLOTS,
}
"""Largest value of every size; the smallest is 1."""


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """Sizes of a model, its context and its KV slots.

    Tokens that begin or end a text are not part of it: they belong to a run, and are read from the checkpoint.

    Raises ConfigError, a sentence, for values that no model has.
    """

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int
    sequences: int

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                raise ConfigError(f"{name} must be 1 to {most}, not {str(value)[:40]}")
        if self.heads % self.kv_heads:
            raise ConfigError(f"{self.heads} attention heads are not a multiple of {self.kv_heads} KV heads")
        if self.heads * self.head_dim != self.hidden:
            raise ConfigError(f"{self.heads} heads of {self.head_dim} do not make up a hidden size of {self.hidden}")

    @classmethod
    def parse(cls, values: dict[str, Any]) -> ModelShape:
        """The shape whose `dataclasses.asdict` went through JSON. Raises ConfigError.

        Older images also hold `bos` and `eos`, which are ignored.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if values.keys() - {"bos", "eos"} != names:
            raise ConfigError(f"the shape has fields {str(sorted(values))[:200]}, expected {sorted(names)}")
        return cls(**{name: values[name] for name in names})

    def check(self, config: AccelConfig) -> None:
        """Raises ConfigError where the preset cannot run the model: one sentence with both numbers."""
        for what, value, most in (
            ("hidden size", self.hidden, config.max_hidden),
            ("FFN size", self.intermediate, config.max_intermediate),
            ("attention width (heads x head_dim)", self.heads * self.head_dim, config.max_hidden),
            ("vocabulary", self.vocab, config.max_vocab),
            ("head_dim", self.head_dim, config.max_head_dim),
            ("number of query heads per KV head", self.heads // self.kv_heads, config.max_group),
            ("context", self.context, config.max_positions),
            ("number of KV heads", self.kv_heads, MAX_KV_HEADS),
        ):
            if value > most:
                raise ConfigError(f"the model's {what} is {value}; preset {config.name} runs at most {most}")
        for what, value, unit in (
            ("hidden size", self.hidden, config.vector),
            ("FFN size", self.intermediate, config.vector),
            ("head_dim", self.head_dim, 2 * config.vector),
            ("row of cached elements in bytes", self.head_dim * config.kv_bytes, config.beat_bytes),
        ):
            if value % unit:
                raise ConfigError(f"the model's {what} is {value}; preset {config.name} needs a multiple of {unit}")

    def head_stride(self, config: AccelConfig) -> int:
        """Bytes from one KV head's cache to the next."""
        return ceil_div(self.context, 16) * config.kv_block_bytes(self.head_dim)

    def layer_stride(self, config: AccelConfig) -> int:
        """Bytes from one layer's cache to the next."""
        return self.kv_heads * self.head_stride(config)

    def slot_stride(self, config: AccelConfig) -> int:
        """Bytes of the KV cache of one sequence."""
        return self.layers * self.layer_stride(config)

    def run_rows(self, config: AccelConfig) -> int:
        """Tokens, and rows of logits, that a run has room for: those of every position, or of a pass of all columns."""
        return max(self.context, config.columns)

    def embed_stride(self, config: AccelConfig) -> int:
        """Bytes of one embedding row: a beat with the float32 row scale unless bf16, then the codes."""
        codes = ceil_div(self.hidden * config.embedding_bits, 8)
        scale = 0 if config.embedding_bits == 16 else config.beat_bytes
        return scale + ceil_div(codes, config.beat_bytes) * config.beat_bytes

    def rope_stride(self, config: AccelConfig) -> int:
        """Bytes of one position: head_dim/2 float32 cosines, then as many sines."""
        return ceil_div(4 * self.head_dim, config.beat_bytes) * config.beat_bytes
