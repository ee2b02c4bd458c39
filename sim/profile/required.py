"""Bytes that a token needs, and multiply-accumulates: what measurements are compared with."""

from __future__ import annotations

from hw.contract.config import AccelConfig
from hw.contract.isa import Opcode
from sw.inspect_image import token_bytes
from sw.model_plan import ModelPlan

__all__ = ["macs_per_cycle", "required_bytes", "ternary_macs"]

SCALE_BYTES = 4
"""A float32: weight scales, and the scales of cached rows."""

NORM_BYTES = 2
"""A bf16 norm weight."""


def kv_bytes(plan: ModelPlan, positions: int) -> int:
    """Codes and scales of the keys and values of so many cached positions, without padding."""
    shape = plan.shape
    row = shape.head_dim * plan.config.kv_bytes + SCALE_BYTES
    return 2 * row * shape.kv_heads * shape.layers * positions


def required_bytes(plan: ModelPlan, positions: int) -> int:
    """Bytes that one token needs behind so many cached positions, however they are packed and padded: ternary weights
    at 5 per byte, LM head rows of int8, their scales and those of the weights, norm weights, and the cached rows."""
    packets = plan.layer_packets
    norms = sum(NORM_BYTES * one.operands["elements"] for one in packets if one.opcode is Opcode.LOAD_NORM)
    scales = SCALE_BYTES * sum(one.opcode is Opcode.MATMUL for one in packets)
    return sum(token_bytes(plan)["required"].values()) + norms + scales + kv_bytes(plan, positions)


def ternary_macs(plan: ModelPlan) -> int:
    """Multiply-accumulates with ternary weights that one token needs."""
    matrices = [packet.operands for packet in plan.layer_packets if packet.opcode is Opcode.MATMUL]
    return sum(one["in_features"] * one["out_features"] for one in matrices)


def macs_per_cycle(config: AccelConfig, bytes_per_cycle: float) -> float:
    """Ternary multiply-accumulates per clock with all columns in use: those of the array, or what the memory feeds."""
    return min(config.lanes, 5 * bytes_per_cycle) * config.columns
