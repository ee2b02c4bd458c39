"""An independent float64 forward pass of `BitNetForCausalLM`, to judge every other implementation against.

It shares no code with the golden model or the packer: it reads `config.json` and the safetensors file(s) itself and
computes what Hugging Face computes, with float64 in place of float32. The only roundings kept are those that belong to
the model: the int8 codes of the activations and the ternary codes of unpacked weights.

Rounding to int8 is a step function, so two correct implementations part wherever a value lies near a tie. `logits`
therefore accepts the codes of another implementation: with these replayed, only rounding noise is left to differ.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["FloatReference", "load_tensors"]

Array = NDArray[np.float64]
Codes = Mapping[str, NDArray[np.int8]]

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "U8": "u1", "I8": "i1"}

# Exact ties do occur: in the first layer the normalising factor cancels, and ratios of short bfloat16 products can be
# halves. Snapping to this grid first removes the float64 noise of about 1e-14, so that they do go to the even code
# whatever the order of summation; it is far below the 1e-4 within which float32 implementations differ anyway.
_TIE_GRID = 2.0**32


def _read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """Tensors of one file: integers as stored, every float format widened exactly to float64."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    tensors: dict[str, NDArray[Any]] = {}
    for name, entry in json.loads(raw[8:start]).items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in _DTYPES:
            raise ValueError(f"{path.name}: tensor {name} has unsupported dtype {entry['dtype']}")
        begin, end = entry["data_offsets"]
        data = np.frombuffer(raw[start + begin : start + end], dtype=_DTYPES[entry["dtype"]])
        if entry["dtype"] == "BF16":
            data = (data.astype(np.uint32) << np.uint32(16)).view(np.float32)
        if entry["dtype"] not in ("U8", "I8"):
            data = data.astype(np.float64)
        tensors[name] = data.reshape(entry["shape"])
    return tensors


def load_tensors(path: str | Path) -> dict[str, NDArray[Any]]:
    """All tensors of a checkpoint directory, from `model.safetensors` or from the shards its index names."""
    root = Path(path)
    index = root / "model.safetensors.index.json"
    if not index.exists():
        return _read_safetensors(root / "model.safetensors")
    shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    return {name: tensor for shard in shards for name, tensor in _read_safetensors(root / shard).items()}


class _Linear(NamedTuple):
    """Ternary weight [out, in] and the factor that turns an integer product into a real one."""

    weight: Array
    factor: float


def _unpack(packed: NDArray[np.uint8]) -> Array:
    """Byte row b of n holds output rows b, b + n, b + 2n, b + 3n from bits 1:0 up; weight = code - 1, code 3 is 0."""
    codes = np.concatenate([(packed >> np.uint8(shift)) & np.uint8(3) for shift in (0, 2, 4, 6)], axis=0)
    return np.array([-1.0, 0.0, 1.0, 0.0])[codes]


def _rms_norm(x: Array, weight: Array, eps: float) -> Array:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def _softmax(scores: Array) -> Array:
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


class FloatReference:
    """A BitNet checkpoint evaluated in float64.

    Parameters
    ----------
    path
        Directory with `config.json` and `model.safetensors` (or shards with their index).

    Attributes
    ----------
    padding
        Packed weights whose code was 3, by layer name. They count as 0 here; real checkpoints have none.

    Raises
    ------
    ValueError
        If the checkpoint asks for something this reference does not compute; nothing is silently ignored.
    """

    def __init__(self, path: str | Path) -> None:
        config = json.loads((Path(path) / "config.json").read_text())
        tensors = load_tensors(path)
        # Without a quantization_config the weights are master weights, as with quantization_mode "online".
        quantization = config.get("quantization_config") or {"quantization_mode": "online"}
        rope = config.get("rope_parameters") or {}
        self._refuse(config, quantization, rope)

        self.hidden: int = config["hidden_size"]
        self.heads: int = config["num_attention_heads"]
        self.kv_heads: int = config.get("num_key_value_heads") or self.heads
        self.head_dim: int = config.get("head_dim") or self.hidden // self.heads
        self.layers: int = config["num_hidden_layers"]
        self.eps: float = config.get("rms_norm_eps", 1e-5)
        self.theta: float = rope.get("rope_theta", config.get("rope_theta", 500000.0))

        self._embedding: Array = tensors["model.embed_tokens.weight"]
        tied = config.get("tie_word_embeddings", "lm_head.weight" not in tensors)
        self._head: Array = self._embedding if tied else tensors["lm_head.weight"]
        self._norms: dict[str, Array] = {k: t for k, t in tensors.items() if k.endswith("norm.weight")}
        packed = {name: t for name, t in tensors.items() if name.endswith("_proj.weight") and t.dtype == np.uint8}
        threes = {name: t & (t >> np.uint8(1)) & np.uint8(0x55) for name, t in packed.items()}
        counts = {name: int(np.bitwise_count(t).sum()) for name, t in threes.items()}
        self.padding: dict[str, int] = {name.removesuffix(".weight"): n for name, n in counts.items() if n}
        divides = quantization.get("linear_class", "bitlinear") == "bitlinear"
        online = quantization.get("quantization_mode", "offline") == "online"
        self._linears: dict[str, _Linear] = {
            name.removesuffix(".weight"): self._linear(tensors, name.removesuffix(".weight"), divides, online)
            for name in tensors
            if name.endswith("_proj.weight")
        }

    @staticmethod
    def _refuse(config: dict[str, Any], quantization: dict[str, Any], rope: dict[str, Any]) -> None:
        if config.get("hidden_act", "relu2") != "relu2":
            raise ValueError(f"hidden_act {config['hidden_act']!r}: only relu2 is BitNet b1.58")
        if config.get("attention_bias"):
            raise ValueError("attention_bias is not supported")
        if quantization.get("use_rms_norm"):
            raise ValueError("use_rms_norm in quantization_config is not supported")
        if quantization.get("linear_class", "bitlinear") not in ("bitlinear", "autobitlinear"):
            raise ValueError(f"unknown linear_class {quantization['linear_class']!r}")
        if (quantization.get("linear_class"), quantization.get("quantization_mode")) == ("bitlinear", "online"):
            raise ValueError("linear_class bitlinear has no quantization_mode online")
        if config.get("rope_scaling") or rope.get("rope_type", "default") != "default":
            raise ValueError("scaled rotary embeddings are not supported")

    @staticmethod
    def _linear(tensors: dict[str, NDArray[Any]], name: str, divides: bool, online: bool) -> _Linear:
        weight = tensors[f"{name}.weight"]
        if weight.dtype == np.uint8:
            if online:
                raise ValueError(f"{name}: packed weights contradict quantization_mode 'online'")
            scale = float(tensors[f"{name}.weight_scale"].reshape(()))
            return _Linear(_unpack(weight), 1.0 / scale if divides else scale)
        if not online:
            raise ValueError(f"{name}: weights that are not packed need quantization_mode 'online'")
        scale = max(float(np.mean(np.abs(weight))), 1e-5)
        return _Linear(np.clip(np.rint(weight / scale), -1.0, 1.0), scale)

    def logits(self, token_ids: Sequence[int], *, layers: int | None = None, codes: Codes | None = None) -> Array:
        """Logits [positions, vocabulary] of one sequence, every position attending to itself and those before it.

        Parameters
        ----------
        token_ids
            The sequence.
        layers
            Evaluate only the first so many blocks before the final norm; all of them if not given.
        codes
            int8 codes [positions, in] to use instead of this model's own, by the name of the linear layer that first
            consumes them (`model.layers.0.self_attn.q_proj`; likewise o_proj, mlp.gate_proj, mlp.down_proj). The
            scales are still computed here.
        """
        replay = codes or {}
        h: Array = self._embedding[np.asarray(token_ids, dtype=np.int64)]
        cos, sin = self._rotary(len(h))
        for layer in range(self.layers if layers is None else layers):
            prefix = f"model.layers.{layer}"
            x = self._norm(h, f"{prefix}.input_layernorm")
            h = h + self._attention(x, f"{prefix}.self_attn", cos, sin, replay)
            x = self._norm(h, f"{prefix}.post_attention_layernorm")
            h = h + self._mlp(x, f"{prefix}.mlp", replay)
        return self._norm(h, "model.norm") @ self._head.T

    def _norm(self, x: Array, name: str) -> Array:
        return _rms_norm(x, self._norms[f"{name}.weight"], self.eps)

    def _project(self, x: Array, prefix: str, names: Sequence[str], replay: Codes) -> list[Array]:
        """Quantise each token once to int8 with its own scale; then one exact integer product per named layer."""
        largest = np.maximum(np.abs(x).max(axis=-1, keepdims=True), 1e-5)
        q: Array = np.clip(np.rint(np.rint(x * 127.0 / largest * _TIE_GRID) / _TIE_GRID), -128.0, 127.0)
        first = f"{prefix}.{names[0]}"
        if first in replay:
            q = replay[first].astype(np.float64)
        linears = [self._linears[f"{prefix}.{name}"] for name in names]
        return [(q @ linear.weight.T) * (largest / 127.0) * linear.factor for linear in linears]

    def _rotary(self, positions: int) -> tuple[Array, Array]:
        frequency = self.theta ** (-2.0 * np.arange(self.head_dim // 2) / self.head_dim)
        angle = np.arange(positions)[:, None, None] * np.concatenate([frequency, frequency])
        return np.cos(angle), np.sin(angle)

    def _attention(self, x: Array, prefix: str, cos: Array, sin: Array, replay: Codes) -> Array:
        q, k, v = self._project(x, prefix, ("q_proj", "k_proj", "v_proj"), replay)
        positions, half = len(x), self.head_dim // 2

        def rotate(y: Array) -> Array:
            y = y.reshape(positions, -1, self.head_dim)
            return y * cos + np.concatenate([-y[..., half:], y[..., :half]], axis=-1) * sin

        group = self.heads // self.kv_heads
        q = rotate(q)
        k = np.repeat(rotate(k), group, axis=1)
        v = np.repeat(v.reshape(positions, self.kv_heads, self.head_dim), group, axis=1)
        scores = np.einsum("ihd,jhd->hij", q, k) / math.sqrt(self.head_dim)
        scores = np.where(np.tri(positions, dtype=bool), scores, -np.inf)
        mixed = np.einsum("hij,jhd->ihd", _softmax(scores), v).reshape(positions, -1)
        return self._project(self._norm(mixed, f"{prefix}.attn_sub_norm"), prefix, ("o_proj",), replay)[0]

    def _mlp(self, x: Array, prefix: str, replay: Codes) -> Array:
        gate, up = self._project(x, prefix, ("gate_proj", "up_proj"), replay)
        y = np.maximum(gate, 0.0) ** 2 * up
        return self._project(self._norm(y, f"{prefix}.ffn_sub_norm"), prefix, ("down_proj",), replay)[0]
