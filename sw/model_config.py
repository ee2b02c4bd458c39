"""`config.json` of a BitNet checkpoint, checked. A model that would be computed differently is refused."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["CheckpointError", "ModelConfig", "parse_json", "read_json"]

MAX_JSON_BYTES = 8_000_000
"""Largest header, index or configuration; 3000 layers take so much. Python objects take up to 30 times as much."""

MAX_EOS = 4
LINEAR_CLASSES = ("autobitlinear", "bitlinear")
MODES = ("offline", "online")
DTYPES = ("bfloat16", "float16", "float32")

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


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, in one sentence."""


def parse_json(text: bytes, what: str) -> dict[str, Any]:
    """A JSON object. Duplicate keys, NaN and infinities are refused."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("a key occurs twice")
        return result

    def constant(word: str) -> Any:
        raise ValueError(f"{word} is not a JSON number")

    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=unique, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{what} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{what} is not a JSON object")
    return value


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of bounded size."""
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist or is not a file")
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise CheckpointError(f"{path} is larger than {MAX_JSON_BYTES} bytes")
        return parse_json(path.read_bytes(), str(path))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error


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
        raise CheckpointError(f"{key} must be {low:g} to {high:g}")
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
    value = values.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise CheckpointError(f"{key} must be an object, not {str(value)[:40]!r}")
    return value


def _rope_theta(values: dict[str, Any]) -> float:
    """The base of the rotary embedding in either style; anything but the plain rotary embedding is refused."""
    parameters, scaling = _section(values, "rope_parameters"), _section(values, "rope_scaling")
    for section in (parameters, scaling):
        kind = section.get("rope_type", section.get("type", "default"))
        if kind != "default":
            raise CheckpointError(f"rope scaling of type {str(kind)[:40]!r} is not supported, only 'default'")
    for section in (parameters, scaling, values):
        if section.get("partial_rotary_factor", 1) not in (1, None):
            raise CheckpointError("partial_rotary_factor other than 1 is not supported")
    return _real(parameters if "rope_theta" in parameters else values, "rope_theta", 1.0, 1e12)


def _eos(values: dict[str, Any], vocab: int) -> tuple[int, ...]:
    value = values.get("eos_token_id")
    ids = [] if value is None else value if isinstance(value, list) else [value]
    if len(ids) > MAX_EOS:
        raise CheckpointError(f"eos_token_id lists {len(ids)} tokens, but at most {MAX_EOS} are supported")
    return tuple(_integer({"eos_token_id": i}, "eos_token_id", 0, vocab - 1) for i in ids)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What `config.json` says about the model, under the names that it uses there.

    Attributes:
        linear_class: "autobitlinear" multiplies by the stored weight scale, "bitlinear" divides by it.
        quantization_mode: "offline": packed ternary weights; "online": unpacked master weights, which are quantised
            here. "online" is also what a `config.json` without quantization_config means; that is warned of.
        bos_token_id: None if the model has none.
        eos_token_ids: up to four tokens that end a text.
        dtype: "bfloat16", "float16" or "float32".
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
    tie_word_embeddings: bool
    linear_class: str
    quantization_mode: str
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]
    dtype: str

    @classmethod
    def parse(cls, values: dict[str, Any]) -> ModelConfig:
        """Check a parsed `config.json`. Raises CheckpointError."""
        architectures = values.get("architectures")
        if architectures not in (["BitNetForCausalLM"], None) or values.get("model_type", "bitnet") != "bitnet":
            raise CheckpointError(f"the architecture must be BitNetForCausalLM, not {str(architectures)[:80]!r} "
                                  f"of model_type {str(values.get('model_type'))[:40]!r}")
        if architectures is None and "model_type" not in values:
            raise CheckpointError("config.json names neither architectures nor model_type")
        _choice(values, "hidden_act", "relu2", ("relu2",))
        if _boolean(values, "attention_bias", False):
            raise CheckpointError("attention_bias is not supported")

        quantization: dict[str, Any] = {
            "quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "online"
        }
        if values.get("quantization_config") is None:
            warnings.warn("config.json has no quantization_config: weights are quantised as by quantization_mode "
                          "online", stacklevel=2)
        else:
            quantization = _section(values, "quantization_config")
        _choice(quantization, "quant_method", None, ("bitnet",))
        linear_class = _choice(quantization, "linear_class", "bitlinear", LINEAR_CLASSES)
        mode = _choice(quantization, "quantization_mode", "offline", MODES)
        if _boolean(quantization, "use_rms_norm", False):
            raise CheckpointError("use_rms_norm in quantization_config is not supported")
        if quantization.get("modules_to_not_convert") not in (None, [], ["lm_head"]):
            raise CheckpointError("modules_to_not_convert other than lm_head is not supported")
        if (linear_class, mode) == ("bitlinear", "online"):
            raise CheckpointError("linear_class bitlinear has no quantization_mode online")

        derived = dict(values)
        if derived.get("num_key_value_heads", 0) is None:
            derived["num_key_value_heads"] = derived.get("num_attention_heads")
        sizes = {key: _integer(derived, key, 1, high) for key, high in LIMITS.items() if key != "head_dim"}
        hidden, heads, kv_heads = (sizes[k] for k in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
        if derived.get("head_dim") is None:
            derived["head_dim"] = hidden // heads
        head_dim = _integer(derived, "head_dim", 1, LIMITS["head_dim"])
        if heads % kv_heads:
            raise CheckpointError(f"{heads} attention heads are not a multiple of {kv_heads} KV heads")
        if heads * head_dim != hidden:
            raise CheckpointError(f"{heads} heads of {head_dim} do not make up a hidden size of {hidden}")
        if head_dim % 2:
            raise CheckpointError(f"head_dim must be even, not {head_dim}")
        bos = values.get("bos_token_id")
        return cls(
            **sizes,
            head_dim=head_dim,
            rope_theta=_rope_theta(values),
            rms_norm_eps=_real({"rms_norm_eps": 1e-5} | values, "rms_norm_eps", 1e-12, 1.0),
            tie_word_embeddings=_boolean(values, "tie_word_embeddings", False),
            linear_class=linear_class,
            quantization_mode=mode,
            bos_token_id=None if bos is None else _integer(values, "bos_token_id", 0, sizes["vocab_size"] - 1),
            eos_token_ids=_eos(values, sizes["vocab_size"]),
            dtype=_choice(values, "dtype" if "dtype" in values else "torch_dtype", "bfloat16", DTYPES),
        )

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
        if not self.tie_word_embeddings:
            shapes["lm_head.weight"] = (self.vocab_size, self.hidden_size)
        return shapes
