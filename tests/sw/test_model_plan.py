"""The plan of a model: what it derives agrees with itself, and is worked out once."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from hw.contract.config import PRESETS, AccelConfig, ConfigError
from sw.model_plan import HEADER_SIZE, ModelPlan
from sw.model_shape import ModelShape

SHAPE = ModelShape(
    hidden=96, intermediate=72, layers=3, heads=3, kv_heads=1, head_dim=32, vocab=41, context=40, sequences=2,
)
CONFIGS = {
    "tiny": PRESETS["tiny"], "kv260": PRESETS["kv260"],
    "striped": PRESETS["tiny"].replace(name="striped", ports=2, rows=4),
    "12 bit": PRESETS["tiny"].replace(name="12 bit", embedding_bits=12),
    "split": PRESETS["tiny"].replace(name="split", candidates=64),
    "striped split": PRESETS["kv260"].replace(name="striped split", candidates=8192),
}
"""Those with candidates are planned with a high plane."""


@pytest.mark.parametrize("layers", [1, 2, 30])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_the_regions_are_as_long_as_what_they_hold(config: AccelConfig, layers: int) -> None:
    plan = ModelPlan(config, replace(SHAPE, layers=layers), config.candidates > 0)
    assert plan.regions["stream"].size == sum(len(packet.header(config)) + packet.payload_bytes
                                              for packet in plan.layer_packets)
    assert plan.regions["head"].size == len(plan.lm_head_packet.header(config)) + plan.lm_head_packet.payload_bytes
    assert plan.regions["embed"].size == 41 * plan.embed_stride
    assert plan.regions["rope"].size == 40 * plan.rope_stride
    if plan.split:
        assert plan.regions["high"].size == len(plan.high_packet.header(config)) + plan.high_packet.payload_bytes
    assert ("high" in plan.regions) == plan.split


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_regions_follow_one_another_inside_of_the_file(config: AccelConfig) -> None:
    plan, end = ModelPlan(config, SHAPE, config.candidates > 0), HEADER_SIZE
    for region in plan.regions.values():
        assert region.offset >= end
        assert region.area >= region.size
        end = region.offset + region.area
    assert plan.layout().kv >= plan.image_bytes >= end
    assert plan.image_bytes % HEADER_SIZE == 0


def test_each_tensor_of_the_layers_has_its_packet() -> None:
    """Seven matrices and four norms of each layer, and the last norm; the caches lie one behind the other."""
    plan = ModelPlan(PRESETS["tiny"], SHAPE)
    tensors = [packet.tensor for packet in plan.layer_packets if packet.tensor]
    assert len(set(tensors)) == len(tensors) == 3 * 11 + 1
    assert [packet.operands["layer_offset"] for packet in plan.layer_packets if packet.opcode.name == "ATTEND"] == [
        0, plan.layer_stride, 2 * plan.layer_stride,
    ]
    assert plan.slot_stride == 3 * plan.layer_stride == 3 * 64 * (8 + 2 * 32)


def test_a_plan_is_worked_out_once_and_stays() -> None:
    plan = ModelPlan(PRESETS["tiny"], SHAPE)
    assert plan.layer_packets is plan.layer_packets
    assert plan.regions is plan.regions
    with pytest.raises(FrozenInstanceError):
        plan.shape = replace(SHAPE, layers=1)  # type: ignore[misc]
    assert plan == ModelPlan(PRESETS["tiny"], SHAPE)
    longer = replace(plan, shape=replace(SHAPE, layers=4))
    assert longer.slot_stride == 4 * plan.layer_stride


@pytest.mark.parametrize(("change", "sentence"), [
    ({"vocab": 8193}, "the model's vocabulary is 8193, but preset tiny supports at most 8192"),
    ({"intermediate": 73}, "the model's FFN size is 73, but preset tiny needs a multiple of 2"),
    ({"heads": 48, "head_dim": 2}, "number of query heads per KV head is 48, but preset tiny supports at most 16"),
])
def test_models_that_a_preset_cannot_run(change: dict[str, int], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        ModelPlan(PRESETS["tiny"], replace(SHAPE, **change))


def test_a_high_plane_needs_candidates() -> None:
    with pytest.raises(ConfigError, match="preset tiny has no split head: set candidates to 64 or more"):
        ModelPlan(PRESETS["tiny"], SHAPE, split=True)
    assert not ModelPlan(PRESETS["tiny"].replace(candidates=64), SHAPE).split


def test_a_split_head_of_whole_words() -> None:
    """What is behind the last activation of a word would count in the reach."""
    config = PRESETS["kv260"].replace(candidates=64)
    with pytest.raises(ConfigError, match="hidden size is 100, but a split head of preset kv260 needs a multiple of 8"):
        ModelPlan(config, replace(SHAPE, hidden=100, heads=1, head_dim=100), split=True)
    ModelPlan(config, replace(SHAPE, hidden=104, heads=1, head_dim=104), split=True)
