"""The whole attention unit in Verilator: cache and outputs equal the golden machine's, after a reset too."""

from __future__ import annotations

import pytest

from hw.contract.config import PRESETS
from sim.bench import run_bench
from tests.hw.attention.with_dots import AttentionWithDots
from tests.hw.with_memories import WithMemories

SMALL = PRESETS["tiny"].replace(
    max_hidden=512, max_intermediate=128, max_head_dim=128, max_group=16, max_positions=256, columns=2
)
CONFIGS = {
    "8 bit": SMALL,
    "16 bit": SMALL.replace(kv_bits=16),
    "128 bit, V = 4": SMALL.replace(port_bits=128, rows=4, vector=4, columns=3, query_rows=2),
    "four ports": SMALL.replace(ports=4, port_bits=128, rows=16, vector=4, columns=4, query_rows=8),
    "two ports, V = 1": SMALL.replace(ports=2, vector=1, rows=4, query_rows=1),
    "three softmax lanes": SMALL.replace(query_rows=9),
}
SHAPES = {
    "8 bit": [(1, 1, 64, 0.3), (3, 2, 32, 0.0), (16, 1, 16, 0.3)],
    "16 bit": [(3, 2, 32, 0.3)],
    "128 bit, V = 4": [(2, 2, 96, 0.3), (5, 1, 48, 0.0)],
    "four ports": [(4, 2, 64, 0.0), (4, 1, 112, 0.3), (7, 1, 64, 0.1)],
    "two ports, V = 1": [(2, 1, 32, 0.2)],
    "three softmax lanes": [(5, 1, 32, 0.2)],
}
"""Heads of a group, groups, elements of a head, and how often an end stalls."""


@pytest.mark.parametrize("name", CONFIGS)
def test_chunks(name: str) -> None:
    config = CONFIGS[name]
    run_bench(WithMemories(AttentionWithDots(config)), config, "tests.hw.attention.attention_bench",
              parameters={"shapes": SHAPES[name]})


def test_reset_at_any_moment() -> None:
    """Stalls leave something in every queue."""
    config = CONFIGS["four ports"]
    run_bench(WithMemories(AttentionWithDots(config)), config, "tests.hw.attention.reset_bench",
              parameters={"shapes": [(5, 2, 32, 0.3)], "resets": 10})
