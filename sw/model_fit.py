"""Whether a configuration is large enough for a model, and which of its fields are not."""

from __future__ import annotations

from dataclasses import dataclass

from hw.contract.config import MAX_KV_HEADS, AccelConfig
from sw.head_padding import padded_head
from sw.model_shape import ModelShape

__all__ = ["Misfit", "attention_width", "misfits"]


@dataclass(frozen=True)
class Misfit:
    """A size of a model that a configuration cannot take.

    Attributes:
        field: field of the configuration that decides; empty for a limit that no field changes.
        what: the size, in words. needed: its value in the model.
        supported: the largest value, or the number of which it must be a multiple (`multiple`).
    """

    field: str
    what: str
    needed: int
    supported: int
    multiple: bool = False

    def sentence(self, preset: str) -> str:
        """One sentence that says what to do."""
        if self.multiple:
            return (f"the model's {self.what} is {self.needed}, but preset {preset} needs a multiple of "
                    f"{self.supported}: use another preset")
        return (f"the model's {self.what} is {self.needed}, but preset {preset} supports at most {self.supported}: "
                "use a larger preset")


def attention_width(shape: ModelShape) -> int:
    """Elements of all query heads of a token, with their padding."""
    return shape.heads * padded_head(shape.head_dim)


def misfits(config: AccelConfig, shape: ModelShape) -> list[Misfit]:
    """All sizes of a model that the configuration cannot take; none: it runs the model, given enough memory."""
    found = [Misfit(field, what, value, most) for field, what, value, most in (
        ("max_hidden", "hidden size", shape.hidden, config.max_hidden),
        ("max_intermediate", "FFN size", shape.intermediate, config.max_intermediate),
        ("max_hidden", "attention width (heads x padded head_dim)", attention_width(shape), config.max_hidden),
        ("max_vocab", "vocabulary", shape.vocab, config.max_vocab),
        ("max_head_dim", "padded head_dim", padded_head(shape.head_dim), config.max_head_dim),
        ("max_group", "number of query heads per KV head", shape.heads // shape.kv_heads, config.max_group),
        ("max_positions", "context", shape.context, config.max_positions),
        ("", "number of KV heads", shape.kv_heads, MAX_KV_HEADS),
    ) if value > most]
    return found + [Misfit("vector", what, value, config.vector, multiple=True) for what, value in (
        ("hidden size", shape.hidden), ("FFN size", shape.intermediate)) if value % config.vector]
