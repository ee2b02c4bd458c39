"""What a model needs on one configuration, with or without a board: fit, bytes, context, load time, projected speed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from hw.contract.config import AccelConfig, ConfigError, ceil_div
from sw.model_fit import misfits
from sw.model_plan import ModelPlan
from sw.model_shape import ModelShape

if TYPE_CHECKING:
    from boards.board import AnyBoard

__all__ = ["target_plan"]


def _memory(plan: ModelPlan) -> dict[str, int]:
    """Bytes of each part of the accelerator's memory. `total` is with alignment, without rows of logits for the host,
    which greedy decoding does not need."""
    layout = plan.layout()
    return {
        **{name: region.size for name, region in plan.regions.items()}, "image": plan.image_bytes,
        "kv": plan.kv_bytes, "prompt": layout.tokens - layout.prompt, "tokens": layout.logits - layout.tokens,
        "total": layout.logits,
    }


def _longest_context(config: AccelConfig, shape: ModelShape, most: int, memory_bytes: int) -> int:
    """Most positions, up to `most`, for which model and KV cache fit into the memory; 0: none."""
    low, high = 0, min(most, config.max_positions)
    while low < high:
        middle = (low + high + 1) // 2
        if _memory(ModelPlan(config, dataclasses.replace(shape, context=middle)))["total"] <= memory_bytes:
            low = middle
        else:
            high = middle - 1
    return low


def _speed(plan: ModelPlan, positions: int, board: AnyBoard) -> dict[str, Any]:
    """Projection for tokens behind so many cached positions: weights once per pass, LM head and KV cache per token.

    The time of everything that does not read memory is left out.
    """
    from sim.profile.required import required_bytes

    config, sequences = plan.config, plan.shape.sequences
    ports = config.stream_bytes * board.clock_hz
    rate = min(ports, board.memory_bytes_per_s)
    head = plan.shape.vocab * (plan.shape.hidden + 4)
    token = required_bytes(plan, positions)
    weights = required_bytes(plan, 0) - head
    passes = ceil_div(sequences, config.columns)
    total = passes * weights + sequences * (token - weights)
    return {
        "cached_positions": positions, "required_bytes": total, "weights_bytes": weights, "passes": passes,
        "head_bytes": head, "kv_bytes": token - weights - head, "sequences": sequences,
        "bytes_per_s": rate, "tokens_per_s": sequences * rate / total,
        "bound": "memory bandwidth" if board.memory_bytes_per_s < ports else "memory ports at the board's clock",
    }


def target_plan(config: AccelConfig, shape: ModelShape, most: int, board: AnyBoard | None) -> dict[str, Any]:
    """JSON of one target. `shape` has the wanted context, and `most` is the longest context of the model.

    `runs` is whether the configuration takes the model and the board's memory holds it.
    """
    found = misfits(config, shape)
    result: dict[str, Any] = {
        "preset": config.name, "build_id": f"{config.build_id:016x}", "board": board.name if board else None,
        "runs": False, "why": [one.sentence(config.name) for one in found],
        "misfits": [dataclasses.asdict(one) for one in found], "bytes": None,
        "memory_bytes": board.memory_bytes if board else None, "missing_bytes": None, "longest_context": None,
        "load_s": None, "projection": None,
    }
    if any(one.field != "max_positions" for one in found):
        return result
    limit = board.memory_bytes if board else 1 << config.address_bits
    try:
        result["longest_context"] = longest = _longest_context(config, shape, most, limit)
        if found:
            return result
        plan = ModelPlan(config, shape)
    except ConfigError as error:  # offsets of the image have 32 bits
        return {**result, "why": [*result["why"], str(error)]}
    result["bytes"] = needed = _memory(plan)
    missing = max(0, needed["total"] - limit)
    result |= {"missing_bytes": missing, "runs": not missing}
    if missing:
        advice = f"give --context {longest}" if longest else "no context is short enough"
        result["why"] = [f"it needs {needed['total']:,} bytes of memory, {missing:,} more than the {limit:,} there: "
                         f"{advice}"]
    elif board:
        if board.load_bytes_per_s is not None:
            result["load_s"] = plan.image_bytes / board.load_bytes_per_s
        result["projection"] = [_speed(plan, positions, board) for positions in sorted({0, shape.context - 1})]
    return result
