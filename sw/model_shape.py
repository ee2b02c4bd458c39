"""The shape of a model: its sizes, as the header of an image holds them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from hw.contract.config import MAX_SLOTS, ConfigError
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

    Begin and end tokens are not included: they belong to a request, and are read from the checkpoint.

    Raises:
        ConfigError: a value is out of range, or values contradict each other.
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
            value = vars(self)[name]
            if type(value) is not int or not 1 <= value <= most:
                raise ConfigError(f"{name} must be 1 to {most}, not {str(value)[:40]}")
        if self.heads % self.kv_heads:
            raise ConfigError(f"{self.heads} attention heads are not a multiple of {self.kv_heads} KV heads")
        if self.heads * self.head_dim != self.hidden:
            raise ConfigError(f"{self.heads} heads of {self.head_dim} do not make up a hidden size of {self.hidden}")

    @classmethod
    def parse(cls, values: dict[str, Any]) -> ModelShape:
        """The shape from a JSON object of its fields. Raises ConfigError.

        Older images also hold `bos` and `eos`, which are ignored.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if values.keys() - {"bos", "eos"} != names:
            raise ConfigError(f"the shape has fields {str(sorted(values))[:200]}, expected {sorted(names)}")
        return cls(**{name: values[name] for name in names})
