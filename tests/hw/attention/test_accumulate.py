"""Accumulate equals the golden output of blocks and heads in any order, with stalls on all ends."""

import numpy as np
import pytest

from hw.attention.accumulate import Accumulate
from hw.attention.weighted_values import value_sum_bits
from hw.contract.config import AccelConfig
from sim.golden.number import MAX_FLOAT, encode, rnd
from tests.hw.steps import run_stream

SIZES = {"max_head_dim": 16, "max_group": 3}
CONFIGS = {
    "scalar": AccelConfig(name="scalar", vector=1, **SIZES),
    "pair": AccelConfig(name="pair", vector=2, **SIZES),
    "pair_kv16": AccelConfig(name="pair_kv16", vector=2, kv_bits=16, **SIZES),
    "quad": AccelConfig(name="quad", vector=4, rows=4, inputs=10, **SIZES),
}
LENGTH = 16


def sequence(*steps, inverse=0.75):
    """Blocks of one head from (sums, alpha, E); the first alpha must be 0."""
    return [
        {"sums": np.asarray(sums), "alpha": alpha, "exponent": exponent, "last": n == len(steps) - 1,
         "inverse": inverse}
        for n, (sums, alpha, exponent) in enumerate(steps)
    ]


def edges(config):
    """Named sequences of blocks."""
    top = 2 ** (value_sum_bits(config) - 1) - 1
    ramp = np.arange(LENGTH) * 1000 - 7000
    largest = np.where(np.arange(LENGTH) % 2, top, -top)
    return {
        "one_block": sequence((ramp, 0.0, 0)),
        "largest_sums": sequence((largest, 0.0, 3), (largest, 1.0, 3)),
        "cancellation": sequence((ramp, 0.0, 0), (-ramp, 1.0, 0)),
        "forgotten": sequence((ramp, 0.0, 0), (2 * ramp + 1, 0.0, -5)),
        "weights_all_zero": sequence((0 * ramp, 0.0, -127), (ramp, 0.5, 0), (0 * ramp, 0.25, -127)),
        "below_the_range": sequence((ramp, 0.0, -126), (ramp, 1.0, -120)),
        "above_the_range": sequence((largest, 0.0, 127), (largest, 1.0, 127), inverse=1.0),
        "inverse_is_large": sequence((ramp, 0.0, 100), inverse=MAX_FLOAT),
        "rounding": sequence((ramp + 1, 0.0, 0), (ramp + 3, 65535 / 65536, 9), (ramp, 1 / 65536, -9), inverse=1 / 3),
        "one_word": sequence((ramp[: config.vector], 0.0, 0), (ramp[: config.vector], 0.5, 1)),
    }


def random_sequence(rng, config):
    top = 2 ** (value_sum_bits(config) - 1) - 1
    words = rng.integers(1, LENGTH // config.vector + 1)
    steps = []
    for n in range(rng.integers(1, 5)):
        sums = rng.integers(-top, top, size=words * config.vector) >> rng.integers(0, 26)
        steps.append((sums, rng.integers(0, 65537) / 65536 if n else 0.0, rng.integers(-20, 5)))
    return sequence(*steps, inverse=float(rnd(1 / rng.uniform(1, 60))))


def golden(blocks):
    acc = np.zeros(len(blocks[0]["sums"]))
    for block in blocks:
        acc = rnd(rnd(acc * block["alpha"]) + rnd(rnd(block["sums"]) * np.exp2(block["exponent"] - 14.0)))
    return rnd(acc * rnd(blocks[-1]["inverse"]))


def interleaved(rng, config, sequences):
    """(head, block, outputs or None), the heads of a group in turn."""
    for start in range(0, len(sequences), config.max_group):
        waiting = {head: list(blocks) for head, blocks in enumerate(sequences[start : start + config.max_group])}
        while waiting:
            head = int(rng.choice(list(waiting)))
            block = waiting[head].pop(0)
            yield head, block, golden(sequences[start + head]) if block["last"] else None
            if block["last"]:
                del waiting[head]


def run(config, plan, **options):
    factors, sums, expected = [], [], []
    for head, block, outputs in plan:
        factors.append({
            "head": head, "alpha": int(encode(block["alpha"])), "exponent": int(block["exponent"]) + 127,
            "last_block": int(block["last"]), "inverse": int(encode(rnd(block["inverse"]))),
        })
        words = block["sums"].reshape(-1, config.vector).tolist()
        sums += [{"sums": word, "last": n == len(words) - 1} for n, word in enumerate(words)]
        if outputs is not None:
            codes = encode(outputs).reshape(-1, config.vector).tolist()
            expected += [{"head": head, "values": word, "last": n == len(codes) - 1} for n, word in enumerate(codes)]
    got, log = run_stream(Accumulate(config), {"factors": factors, "i": sums}, **options)
    return got, expected, log


def check_outputs(config, stall, simulator="pysim"):
    """The named sequences, then random ones, of several heads at a time."""
    rng = np.random.default_rng(45)
    sequences = list(edges(config).values()) + [random_sequence(rng, config) for _ in range(14)]
    plan = list(interleaved(rng, config, sequences))
    got, expected, _ = run(config, plan, stall=stall, seed=46, simulator=simulator)
    assert got == expected


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0.0, 0.3])
def test_outputs_equal_golden(name, stall):
    config = CONFIGS[name]
    check_outputs(config, stall)


def test_verilated():
    for stall in (0.0, 0.3):
        check_outputs(CONFIGS["pair"], stall, "verilator")


@pytest.mark.parametrize("name", CONFIGS)
def test_one_word_per_clock(name):
    config = CONFIGS[name]
    blocks = edges(config)["largest_sums"]
    got, expected, log = run(config, [(0, blocks[0], None), (0, blocks[1], golden(blocks))])
    assert got == expected
    words = LENGTH // config.vector
    assert log["i"][words] - log["i"][words - 1] == Accumulate.STORE_LATENCY + 1
    assert [out - in_ for in_, out in zip(log["i"][words:], log["o"], strict=True)] == [Accumulate.LATENCY] * words
    assert log["o"][-1] - log["o"][0] == words - 1
