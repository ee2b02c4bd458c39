"""The whole attention unit in Verilator: cache and outputs equal the golden machine's; see `attention_bench.py`."""

from __future__ import annotations

import pytest

from hw.attention.attention import Attention
from hw.contract.config import PRESETS
from sim.bench import run_bench
from tests.hw.with_memories import WithMemories

SMALL = PRESETS["tiny"].replace(
    max_hidden=128, max_intermediate=128, max_head_dim=32, max_group=4, max_positions=4096, columns=2
)
CONFIGS = {
    "8 bit": SMALL,
    "16 bit": SMALL.replace(kv_bits=16),
    "128 bit, V = 4": SMALL.replace(port_bits=128, rows=4, vector=4, columns=3),
}
SHAPES = {
    "8 bit": [(1, 1, 0.3), (3, 2, 0.0), (3, 2, 0.3)],
    "16 bit": [(3, 2, 0.3)],
    "128 bit, V = 4": [(2, 2, 0.3)],
}
"""Heads of a group, groups, and how often an end stalls."""


@pytest.mark.parametrize("name", CONFIGS)
def test_chunks(name: str) -> None:
    config = CONFIGS[name]
    run_bench(WithMemories(Attention(config)), config, "tests.hw.attention.attention_bench",
              parameters={"shapes": SHAPES[name]})
