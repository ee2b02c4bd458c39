"""Recognition of the model family from `config.json`. Only `BitNetForCausalLM` is supported.

Other ternary models compute something else, so each is refused with a message that gives its usual name and what
differs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sw.errors import CheckpointError

__all__ = ["check_family"]

_ADVICE = ("this program runs BitNetForCausalLM checkpoints, such as microsoft/bitnet-b1.58-2B-4T; for this one use "
           "transformers, llama.cpp or bitnet.cpp")


def _quantised(values: dict[str, Any]) -> bool:
    section = values.get("quantization_config")
    return isinstance(section, dict) and section.get("quant_method") == "bitnet"


def _architecture(values: dict[str, Any]) -> str:
    names = values.get("architectures")
    return str(names[0])[:80] if isinstance(names, list) and names else ""


def _spectra(values: dict[str, Any]) -> bool:
    """TriLM: GPT-NeoX's vocabulary, padded, below a Llama without grouped queries, and no quantisation named."""
    vocab = values.get("vocab_size")
    return (values.get("model_type") == "llama" and not _quantised(values) and isinstance(vocab, int)
            and 50254 <= vocab <= 50688)


_KNOWN: tuple[tuple[Callable[[dict[str, Any]], bool], str], ...] = (
    (lambda v: _architecture(v) == "BitnetForCausalLM",
     "a BitnetForCausalLM, the class of 1bitLLM/bitnet_b1_58-large, -xl and -3B (with a small n): its activation is "
     "SiLU and its norms are at other places than those of BitNetForCausalLM"),
    (lambda v: _quantised(v) and v.get("model_type") in ("llama", "falcon_e", "falcon3"),
     "a Llama with BitNet-quantised linear layers, such as Falcon3-1.58bit, Falcon-E or Llama3-8B-1.58: its activation "
     "is SiLU and it has no sub-norms"),
    (lambda v: str(v.get("model_type")).startswith("falcon"),
     "a Falcon model, whose activation and norms differ from those of BitNetForCausalLM"),
    (_spectra, "a Llama with the vocabulary of SpectraSuite's TriLM or FloatLM, which have several scales per matrix, "
     "no quantised activations, and SiLU"),
    (lambda v: v.get("model_type") in ("qwen3", "qwen2"),
     "a Qwen model; the ternary ones among them (PrismML's Bonsai) have a scale per 128 inputs, norms of q and k, and "
     "SiLU"),
    (lambda v: v.get("model_type") in ("minicpm", "minicpm4"),
     "a MiniCPM model (BitCPM4): it scales its embedding and its residual stream"),
    (lambda v: v.get("model_type") == "llama",
     "a Llama, with weights that are not ternary unless its quantization_config says so"),
)
"""Unsupported models: a test and a description for each. Specific entries come before general ones."""


def check_family(values: dict[str, Any]) -> None:
    """Raises CheckpointError unless a parsed `config.json`, without nulls, is that of a BitNetForCausalLM."""
    architectures, kind = values.get("architectures", []), values.get("model_type")
    if not isinstance(architectures, list) or not all(isinstance(name, str) for name in architectures):
        raise CheckpointError(f"architectures must be a list of names, not {str(architectures)[:80]!r}")
    if "peft_type" in values or "base_model_name_or_path" in values:
        raise CheckpointError("config.json is that of a LoRA adapter, which changes a model and is none: merge it into "
                              "its base model first")
    if not architectures and kind is None:
        raise CheckpointError("config.json names neither architectures nor model_type")
    if architectures in ([], ["BitNetForCausalLM"]) and kind in ("bitnet", None):
        return
    name = f"architecture {_architecture(values)!r} of model_type {str(kind)[:40]!r}"
    known = next((text for test, text in _KNOWN if test(values)), None)
    raise CheckpointError(f"config.json describes {known} ({name}): {_ADVICE}" if known
                          else f"the architecture must be BitNetForCausalLM, not {name}: {_ADVICE}")
