"""`config.json` of a BitNet checkpoint, parsed and checked. Options that are not implemented are errors."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sw.errors import CheckpointError
from sw.families import check_family
from sw.file_kind import read_small

__all__ = ["CheckpointError", "ModelConfig", "parse_json", "read_json"]

MAX_JSON_BYTES = 8_000_000
"""Largest header, index or configuration, enough for 3000 layers. Its Python objects take up to 30 times as much."""

LINEAR_CLASSES = ("autobitlinear", "bitlinear")
MODES = ("offline", "online")

LIMITS = {
    "hidden_size": (1 << 16) - 1,
    "intermediate_size": (1 << 16) - 1,
    "num_hidden_layers": 1 << 11,
    "num_attention_heads": 1 << 12,
    "num_key_value_heads": 1 << 12,
    "head_dim": 1 << 14,
    "vocab_size": 1 << 24,
    "max_position_embeddings": 1 << 24,
}
"""Largest accepted value of every size; the smallest is 1. The packet stream has 16 bits for a vector's length."""


def parse_json(text: bytes, what: str, *, constants: bool = False) -> dict[str, Any]:
    """A JSON object, with or without a byte-order mark. Duplicate keys are refused, and so are NaN and infinities,
    which are no JSON but which Python writes, unless `constants`."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("a key occurs twice")
        return result

    def constant(word: str) -> Any:
        if constants:
            return float(word)
        raise ValueError(f"{word} is not a JSON number")

    try:
        value = json.loads(text.decode("utf-8-sig"), object_pairs_hook=unique, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{what} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{what} is not a JSON object")
    return value


def read_json(path: Path, *, constants: bool = False) -> dict[str, Any]:
    """The JSON object in a file of bounded size. Raises CheckpointError, which names the kind of a wrong file."""
    return parse_json(read_small(path, MAX_JSON_BYTES), str(path), constants=constants)


def _integer(values: dict[str, Any], key: str, low: int, high: int) -> int:
    value = values.get(key)
    if value is None:
        raise CheckpointError(f"config.json has no {key}")
    if isinstance(value, bool) or not isinstance(value, int):
        raise CheckpointError(f"{key} must be an integer, not {str(value)[:40]!r}")
    if not low <= value <= high:
        raise CheckpointError(f"{key} must be {low} to {high}, not {str(value)[:40]}")
    return value


def _real(values: dict[str, Any], key: str, low: float, high: float) -> float:
    value = values.get(key)
    if value is None:
        raise CheckpointError(f"config.json has no {key}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CheckpointError(f"{key} must be a number, not {str(value)[:40]!r}")
    if not (low <= value <= high) or not math.isfinite(value):
        raise CheckpointError(f"{key} must be {low:g} to {high:g}, not {str(value)[:40]}")
    return float(value)


def _boolean(values: dict[str, Any], key: str, default: bool) -> bool:
    value = values.get(key, default)
    if not isinstance(value, bool):
        raise CheckpointError(f"{key} must be true or false, not {str(value)[:40]!r}")
    return value


def _choice(values: dict[str, Any], key: str, default: Any, choices: tuple[str, ...]) -> str:
    value = values.get(key, default)
    if value not in choices:
        raise CheckpointError(f"{key} must be {' or '.join(choices)}, not {str(value)[:40]!r}")
    return value


def _section(values: dict[str, Any], key: str) -> dict[str, Any]:
    """A JSON object inside another, without null values: null means absent."""
    value = values.get(key, {})
    if not isinstance(value, dict):
        raise CheckpointError(f"{key} must be an object, not {str(value)[:40]!r}")
    return _without_nulls(value)


def _without_nulls(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _rope_theta(values: dict[str, Any]) -> float:
    """The base of the rotary embedding, from rope_parameters or rope_scaling. Scaled variants are refused.

    A linear scaling by 1 is accepted. A factor other than 1 without a type is refused.
    """
    parameters, scaling = _section(values, "rope_parameters"), _section(values, "rope_scaling")
    for section in (parameters, scaling):
        kind, factor = section.get("rope_type", section.get("type")), section.get("factor", 1)
        if kind != "default" and not (kind in (None, "linear") and factor == 1):
            raise CheckpointError(f"rope scaling of type {str(kind)[:40]!r} by {str(factor)[:40]} is not supported, "
                                  "only 'default'")
    for section in (parameters, scaling, values):
        if section.get("partial_rotary_factor", 1) != 1:
            raise CheckpointError("partial_rotary_factor other than 1 is not supported")
    return _real(parameters if "rope_theta" in parameters else values, "rope_theta", 1.0, 1e12)


def _check_not_converted(patterns: Any, names: Iterable[str]) -> None:
    """Refuse a modules_to_not_convert that includes a BitLinear. Head, embedding and norms may be listed.

    As transformers does, an entry means the modules whose name begins or ends with it, and a part between dots, which
    older versions look for anywhere in the name. Of regular expressions only
    `^`, `$` and `\\.` are supported: names need no more, and other expressions can take unbounded time.
    """
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        raise CheckpointError(f"modules_to_not_convert must be a list of names, not {str(patterns)[:80]!r}")
    for pattern in patterns:
        part = pattern.removeprefix("^").removesuffix("$").replace("\\.", ".")
        if not part or set(part) & set("\\*+?[](){}|^$"):
            raise CheckpointError(f"modules_to_not_convert lists {pattern[:80]!r}: list plain names of modules")
        spared = next((name for name in names if name.startswith(part) or name.endswith(part)
                       or f".{part}." in f".{name}."), None)
        if spared:
            raise CheckpointError(f"modules_to_not_convert lists {pattern[:80]!r}, which leaves {spared} unquantised: "
                                  "only the head, the embedding and norms may be left out")


def _dtype(values: dict[str, Any]) -> str:
    """The type in which other programs compute the model. It has no effect here; null and "auto" mean the default."""
    found = values.get("dtype", values.get("torch_dtype", "auto"))
    if not isinstance(found, str):
        raise CheckpointError(f"dtype must be the name of a type, not {str(found)[:40]!r}")
    return "bfloat16" if found == "auto" else found.removeprefix("torch.")[:40]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The model's configuration, with the names of `config.json`.

    Attributes:
        linear_class: "autobitlinear" multiplies by the stored weight scale, "bitlinear" divides by it.
        quantization_mode: "offline": packed ternary weights; "online": unpacked master weights, which are quantised
            here. A `config.json` without quantization_config also means "online", with a warning.
        tie_word_embeddings: whether the head is the embedding; None if `config.json` does not say, in which case the
            tensors decide.
        dtype: type in which other programs compute the model, such as "bfloat16".

    Token ids are not included, because other files have them too; `sw.special_tokens` reads all of them.
    """

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    rope_theta: float
    rms_norm_eps: float
    tie_word_embeddings: bool | None
    linear_class: str
    quantization_mode: str
    dtype: str

    @classmethod
    def parse(cls, values: dict[str, Any]) -> ModelConfig:
        """Check a parsed `config.json`. Raises CheckpointError. Null is the same as absent, but for KV heads."""
        kv_heads_are_heads = values.get("num_key_value_heads", 0) is None
        values = _without_nulls(values)
        check_family(values)
        _choice(values, "hidden_act", "relu2", ("relu2",))
        if _boolean(values, "attention_bias", False):
            raise CheckpointError("attention_bias is not supported")
        if kv_heads_are_heads:
            values["num_key_value_heads"] = values.get("num_attention_heads")
        sizes = {key: _integer(values, key, 1, high) for key, high in LIMITS.items() if key != "head_dim"}
        hidden, heads, kv_heads = (sizes[k] for k in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
        head_dim = _integer({"head_dim": hidden // heads} | values, "head_dim", 1, LIMITS["head_dim"])
        if heads % kv_heads:
            raise CheckpointError(f"{heads} attention heads are not a multiple of {kv_heads} KV heads")
        if heads * head_dim != hidden:
            raise CheckpointError(f"{heads} heads of {head_dim} do not make up a hidden size of {hidden}")
        if head_dim % 2:
            raise CheckpointError(f"head_dim must be even, not {head_dim}")
        linear_class, mode = cls._quantization(values)
        config = cls(
            **sizes,
            head_dim=head_dim,
            rope_theta=_rope_theta(values),
            rms_norm_eps=_real({"rms_norm_eps": 1e-5} | values, "rms_norm_eps", 1e-12, 1.0),
            tie_word_embeddings=_boolean(values, "tie_word_embeddings", False) if "tie_word_embeddings" in values
            else None,
            linear_class=linear_class,
            quantization_mode=mode,
            dtype=_dtype(values),
        )
        _check_not_converted(_section(values, "quantization_config").get("modules_to_not_convert", []),
                             [f"model.layers.{layer}.{name}" for layer in range(config.num_hidden_layers)
                              for name in config.linear_shapes()])
        return config

    @staticmethod
    def _quantization(values: dict[str, Any]) -> tuple[str, str]:
        """linear_class and quantization_mode."""
        if "quantization_config" not in values:
            warnings.warn("config.json has no quantization_config: weights are quantised as by quantization_mode "
                          "online", stacklevel=2)
            return "autobitlinear", "online"
        quantization = _section(values, "quantization_config")
        _choice(quantization, "quant_method", None, ("bitnet",))
        linear_class = _choice(quantization, "linear_class", "bitlinear", LINEAR_CLASSES)
        mode = _choice(quantization, "quantization_mode", "offline", MODES)
        if _boolean(quantization, "use_rms_norm", False):
            raise CheckpointError("use_rms_norm in quantization_config is not supported")
        if (linear_class, mode) == ("bitlinear", "online"):
            raise CheckpointError("linear_class bitlinear does not support quantization_mode online: use linear_class "
                                  "autobitlinear")
        return linear_class, mode

    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """(outputs M, inputs K) of the seven BitLinear layers of a block, by name below `model.layers.N.`."""
        hidden, ffn, kv = self.hidden_size, self.intermediate_size, self.num_key_value_heads * self.head_dim
        return {
            "self_attn.q_proj": (hidden, hidden),
            "self_attn.k_proj": (kv, hidden),
            "self_attn.v_proj": (kv, hidden),
            "self_attn.o_proj": (hidden, hidden),
            "mlp.gate_proj": (ffn, hidden),
            "mlp.up_proj": (ffn, hidden),
            "mlp.down_proj": (hidden, ffn),
        }

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and stored shape of every tensor that the model needs."""
        packed = self.quantization_mode == "offline"
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocab_size, self.hidden_size)}
        for layer in range(self.num_hidden_layers):
            prefix = f"model.layers.{layer}."
            for name in ("input_layernorm", "post_attention_layernorm", "self_attn.attn_sub_norm"):
                shapes[f"{prefix}{name}.weight"] = (self.hidden_size,)
            shapes[f"{prefix}mlp.ffn_sub_norm.weight"] = (self.intermediate_size,)
            for name, (rows, columns) in self.linear_shapes().items():
                if packed and rows % 4:
                    raise CheckpointError(f"{name} has {rows} output rows, which do not pack four to a byte")
                shapes[f"{prefix}{name}.weight"] = (rows // 4 if packed else rows, columns)
                if packed:
                    shapes[f"{prefix}{name}.weight_scale"] = (1,)
        shapes["model.norm.weight"] = (self.hidden_size,)
        if self.tie_word_embeddings is False:
            shapes["lm_head.weight"] = (self.vocab_size, self.hidden_size)
        return shapes
