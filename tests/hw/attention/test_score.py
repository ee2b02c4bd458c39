"""Score equals the golden score of a position, passes on what goes beside it, and keeps its latency."""

import numpy as np
import pytest
from amaranth.hdl import Fragment

from hw.attention.score import Score, dot_bits
from hw.contract.config import preset
from hw.dot.dot_engine import DotEngine
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, encode, rnd
from tests.hw.steps import run_stream

CONFIGS = {name: preset(name) for name in ("tiny", "tiny-kv16")}
BESIDE = ("head", "value_scale", "last", "first_block", "last_block")


def largest_dot(config):
    return 32767 * (2 ** (config.kv_bits - 1) - 1) * config.max_head_dim


def items(rng, config, count):
    """Named edges, then random sums and scales: arrays of sums, query scales, key scales."""
    top = largest_dot(config)
    edges = [
        (0, 1.0, 1.0), (1, 1.0, 1.0), (-1, 1.0, 1.0), (top, 1.0, 1.0), (-top, 1.0, 1.0),
        (top, 0.0, 1.0), (top, 1.0, 0.0), (top, MAX_FLOAT, 1.0), (-top, MAX_FLOAT, 1.0), (-1, MIN_FLOAT, 1.0),
        (top, MIN_FLOAT, 0.5), (2**17 + 1, 1.0, 1.0), (2**17 + 3, 1.0, 1.0), (-(2**18 - 1), 1.0, 1.0),
    ]
    sums = rng.integers(-top, top + 1, size=count) >> rng.integers(0, top.bit_length(), size=count)
    scales = rnd(np.exp2(rng.normal(size=(2, count)) * 6 - 8))
    return (np.concatenate([[edge[0] for edge in edges], sums]),
            *(np.concatenate([[edge[n + 1] for edge in edges], scales[n]]) for n in range(2)))


def payloads(rng, config, sums, query_scales, key_scales):
    flags = rng.integers(0, 2, size=(3, len(sums)))
    return [
        {"sum": int(total), "query_scale": int(encode(query)), "key_scale": int(encode(key)),
         "head": int(rng.integers(config.max_group)), "value_scale": int(encode(rnd(rng.random()))),
         "last": int(flags[0, n]), "first_block": int(flags[1, n]), "last_block": int(flags[2, n])}
        for n, (total, query, key) in enumerate(zip(sums, query_scales, key_scales, strict=True))
    ]


def check(config, stall, simulator="pysim"):
    rng = np.random.default_rng(41)
    sums, query_scales, key_scales = items(rng, config, 150)
    sent = payloads(rng, config, sums, query_scales, key_scales)
    scores = encode(rnd(rnd(sums.astype(np.float64)) * rnd(query_scales * key_scales))).tolist()

    got, log = run_stream(Score(config), {"i": sent}, stall=stall, seed=42, simulator=simulator)

    expected = [{"score": score} | {key: item[key] for key in BESIDE} for score, item in zip(scores, sent, strict=True)]
    assert got == expected
    if not stall:
        assert {out - in_ for in_, out in zip(log["i"], log["o"], strict=True)} == {Score.LATENCY}
        assert log["i"] == list(range(log["i"][0], log["i"][0] + len(sent)))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_score_equals_golden(name, stall):
    check(CONFIGS[name], stall)


def test_verilated():
    for stall in (0.0, 0.4):
        check(CONFIGS["tiny"], stall, "verilator")


@pytest.mark.parametrize("name", CONFIGS)
def test_sum_is_as_wide_as_that_of_the_dot_engine(name):
    config = CONFIGS[name]
    engine = DotEngine(config, lanes=config.beat_bytes, element_bits=config.kv_bits, max_elements=config.max_head_dim)
    Fragment.get(engine, platform=None)
    assert dot_bits(config) == engine.sum_bits
