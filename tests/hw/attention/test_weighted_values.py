"""WeightedValues equals exact integer sums for blocks of every kind, with stalls on all ends."""

import numpy as np
import pytest

from hw.attention.weighted_values import WeightedValues, value_sum_bits
from hw.contract.config import BLOCK_POSITIONS, AccelConfig
from tests.hw.steps import run_stream

WIDE = {"port_bits": 128, "rows": 16, "inputs": 5}
CONFIGS = {
    "scalar_kv8": AccelConfig(name="scalar_kv8", vector=1, max_head_dim=32),
    "pair_kv8": AccelConfig(name="pair_kv8", vector=2, max_head_dim=40),
    "quad_kv16": AccelConfig(name="quad_kv16", vector=4, rows=4, inputs=10, kv_bits=16, max_head_dim=32),
    "pair_kv16": AccelConfig(name="pair_kv16", vector=2, kv_bits=16, max_head_dim=40),
    "wide_kv8": AccelConfig(name="wide_kv8", vector=4, max_head_dim=48, **WIDE),
}


def blocks(rng, config):
    """Pairs of weights [16] and values [positions, head_dim]: named edges, then random ones."""
    limit = 2 ** (config.kv_bits - 1) - 1
    lanes = config.beat_bytes // config.kv_bytes
    longest = config.max_head_dim
    full = np.full(BLOCK_POSITIONS, 32767)
    edges = {
        "largest": (full, np.full((BLOCK_POSITIONS, longest), limit)),
        "smallest": (full, np.full((BLOCK_POSITIONS, longest), -limit)),
        "nothing_left_of_the_block_before": (0 * full, np.full((BLOCK_POSITIONS, longest), limit)),
        "one_position": (full, rng.integers(-limit, limit + 1, size=(1, longest))),
        "one_beat": (full, rng.integers(-limit, limit + 1, size=(1, lanes))),
        "rows_of_one_beat": (full, rng.integers(-limit, limit + 1, size=(BLOCK_POSITIONS, lanes))),
        "one_weight_each": (np.arange(BLOCK_POSITIONS), np.eye(BLOCK_POSITIONS, longest, dtype=int)),
    }
    result = list(edges.values())
    for _ in range(8):
        shape = (rng.integers(1, BLOCK_POSITIONS + 1), lanes * rng.integers(1, longest // lanes + 1))
        result.append((rng.integers(0, 32768, size=BLOCK_POSITIONS), rng.integers(-limit, limit + 1, size=shape)))
    return result


def beats(config, values):
    codes = values.astype(np.int8 if config.kv_bits == 8 else np.int16)
    rows = codes.view(np.uint8).reshape(len(values), -1, config.beat_bytes).tolist()
    return [
        {"beat": beat, "last": n == len(row) - 1, "last_row": place == len(rows) - 1}
        for place, row in enumerate(rows) for n, beat in enumerate(row)
    ]


def expected(config, weights, values):
    words = (weights[: len(values)] @ values).reshape(-1, config.vector).tolist()
    return [{"sums": word, "last": n == len(words) - 1} for n, word in enumerate(words)]


def check(config, stall, simulator="pysim"):
    given = blocks(np.random.default_rng(43), config)
    inputs = {
        "weights": [weights.tolist() for weights, _ in given],
        "i": [beat for _, values in given for beat in beats(config, values)],
    }
    got, _ = run_stream(WeightedValues(config), inputs, stall=stall, seed=44, simulator=simulator)
    assert got == [word for block in given for word in expected(config, *block)]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0.0, 0.3])
def test_sums_are_exact(name, stall):
    check(CONFIGS[name], stall)


def test_verilated():
    for stall in (0.0, 0.3):
        check(CONFIGS["pair_kv8"], stall, "verilator")


@pytest.mark.parametrize("name", CONFIGS)
def test_one_beat_and_one_word_per_clock(name):
    config = CONFIGS[name]
    values = np.ones((BLOCK_POSITIONS, config.max_head_dim), dtype=int)
    _, log = run_stream(
        WeightedValues(config), {"weights": [[1] * BLOCK_POSITIONS], "i": beats(config, values)}
    )
    start, first = log["i"][-1], log["o"][0]
    assert first - start == WeightedValues.LATENCY
    assert start - log["i"][0] == len(log["i"]) - 1
    assert log["o"][-1] - first == config.max_head_dim // config.vector - 1


def test_sum_widths_are_those_of_the_contract():
    assert [value_sum_bits(CONFIGS[name]) for name in ("pair_kv8", "pair_kv16")] == [27, 35]
