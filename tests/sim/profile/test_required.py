"""Required bytes and multiply-accumulates, against numbers that were worked out by hand."""

from __future__ import annotations

from hw.contract.config import PRESETS
from sim.profile.required import required_bytes, ternary_macs
from sw.model_plan import ModelPlan
from sw.model_shape import ModelShape

SHAPE = ModelShape(hidden=64, intermediate=68, layers=3, heads=2, kv_heads=1, head_dim=32, vocab=33, context=64,
                   sequences=1)
LAYER = 64 * 64 + 2 * 32 * 64 + 64 * 64 + 3 * 64 * 68
"""q, k and v, o, and the three of the FFN."""


def test_macs_of_a_token() -> None:
    assert ternary_macs(ModelPlan(PRESETS["tiny"], SHAPE)) == 3 * LAYER


def test_bytes_of_a_token() -> None:
    """4096 / 5, 2048 / 5 and 4352 / 5, rounded up: no packing enters, so every preset requires the same."""
    weights = 820 + 410 + 410 + 820 + 3 * 871
    norms = 2 * (64 + 64 + 64 + 68)
    head = 33 * (64 + 4)
    for name in ("tiny", "medium"):
        plan = ModelPlan(PRESETS[name], SHAPE)
        assert required_bytes(plan, 0) == 3 * (weights + norms + 7 * 4) + 2 * 64 + head
        assert required_bytes(plan, 10) - required_bytes(plan, 0) == 10 * 3 * (32 + 32 + 8)


def test_a_cache_of_16_bits_requires_twice_the_codes() -> None:
    plan = ModelPlan(PRESETS["tiny-kv16"], SHAPE)
    assert required_bytes(plan, 10) - required_bytes(plan, 0) == 10 * 3 * (64 + 64 + 8)
