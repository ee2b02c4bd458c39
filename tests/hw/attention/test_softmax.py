"""OnlineSoftmax equals the golden block step for interleaved heads, with stalls on both ends."""

import numpy as np
import pytest

from hw.attention.softmax import OnlineSoftmax
from hw.contract.config import BLOCK_POSITIONS, preset
from sim.golden.attention import softmax_block
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, encode, rnd
from tests.hw.steps import run_stream

CONFIG = preset("tiny")
RAMP = np.arange(16.0)
ONES = np.ones(16)
SILENCE = 2 * OnlineSoftmax.LAST_LATENCY

# A sequence of blocks of one head: (scores, value scales); a short one has fewer valid positions.
SEQUENCES = {
    "single_position": [(np.array([-3.25]), np.array([0.01]))],
    "single_position_after_a_block": [(RAMP, ONES), (np.array([2.0]), np.array([0.3]))],
    "equal_scores": [(0 * RAMP + 1.5, ONES), (0 * RAMP + 1.5, ONES)],
    "maximum_first": [(-RAMP, ONES), (-RAMP - 1, ONES)],
    "maximum_last": [(RAMP, ONES), (RAMP + 16, ONES), (RAMP + 19.5, ONES)],
    "huge_gap_up": [(RAMP, ONES), (RAMP + 2.0**16, ONES)],
    "huge_gap_down": [(RAMP, ONES), (RAMP - 2.0**16, ONES)],
    "gap_inside": [(np.where(RAMP == 7, 500.0, -500.0), ONES)],
    "negative_scores": [(-RAMP - 100, ONES), (RAMP - 200, ONES)],
    "zero_value_scales": [(RAMP, 0 * ONES), (RAMP, 0 * ONES)],
    "largest_weight_is_not_the_maximum": [(RAMP / 4, np.exp2(-RAMP))],
    "tiny_value_scales": [(RAMP / 8, MIN_FLOAT * ONES)],
    "ends_of_the_range": [(np.array([-MAX_FLOAT, MAX_FLOAT, 0.0]), np.array([1.0, MAX_FLOAT, 1.0]))],
}


def random_sequence(rng):
    """One to five blocks, the last of any length."""
    spread = np.exp2(rng.uniform(-3, 4))
    lengths = [BLOCK_POSITIONS] * rng.integers(0, 5) + [rng.integers(1, BLOCK_POSITIONS + 1)]
    return [(rnd(rng.normal(size=n) * spread), rnd(np.exp2(rng.normal(size=n) * 3 - 6))) for n in lengths]


def golden(sequence):
    """Per block: alpha, 16 weights, exponent, and 1/l after the last."""
    out, maximum, total = [], np.zeros(1), np.zeros(1)
    for n, (scores, scales) in enumerate(sequence):
        alpha, w16, e, maximum, total = softmax_block(scores[None], scales, maximum, total, n == 0)
        weights = np.zeros(BLOCK_POSITIONS, dtype=int)
        weights[: len(scores)] = w16[0]
        last = n == len(sequence) - 1
        inverse = int(encode(rnd(1 / total))[0]) if last else None
        out.append((int(encode(alpha)[0]), weights.tolist(), int(e[0]) + 127, inverse))
    return out


def words(sequence, n, head):
    """Block n of a sequence as input words."""
    scores, scales = (encode(values).tolist() for values in sequence[n])
    return [
        {"head": head, "score": score, "value_scale": scale, "last": place == len(scores) - 1,
         "first_block": n == 0, "last_block": n == len(sequence) - 1}
        for place, (score, scale) in enumerate(zip(scores, scales, strict=True))
    ]


def soften(sequences, stall=0.0, seed=1, simulator="pysim", config=CONFIG):
    """All heads in turn, block after block, as the accelerator does; returns the results of each head."""
    order = [(n, head) for n in range(max(map(len, sequences))) for head in range(len(sequences))
             if n < len(sequences[head])]
    sent = [word for n, head in order for word in words(sequences[head], n, head)]
    received, _ = run_stream(OnlineSoftmax(config), {"i": sent}, stall=stall, seed=seed, silence=SILENCE,
                             simulator=simulator)
    assert [result["head"] for result in received] == [head for _, head in order]
    return [[outcome(result) for result in received if result["head"] == head] for head in range(len(sequences))]


def outcome(result):
    inverse = result["inverse"] if result["last_block"] else None
    return result["alpha"], result["weights"], result["exponent"], inverse


def check_named(stall, simulator="pysim"):
    results = soften(list(SEQUENCES.values()), stall, simulator=simulator)
    for name, result in zip(SEQUENCES, results, strict=True):
        assert result == golden(SEQUENCES[name]), name


def check_random(seed, simulator="pysim", config=CONFIG, stall=0.3):
    rng = np.random.default_rng(seed)
    sequences = [random_sequence(rng) for _ in range(config.max_group)]
    assert soften(sequences, stall, seed, simulator, config) == [golden(sequence) for sequence in sequences]


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_named(stall):
    check_named(stall)


@pytest.mark.parametrize("seed", range(4))
def test_random(seed):
    check_random(seed)


def test_verilated():
    check_named(0.0, "verilator")
    check_random(1, "verilator")


def test_heads_are_used_again():
    """A first block forgets what its head has seen before."""
    sequences = [SEQUENCES["maximum_last"], SEQUENCES["negative_scores"], SEQUENCES["single_position"]]
    sent = [word for sequence in sequences for n in range(len(sequence)) for word in words(sequence, n, 3)]
    received, _ = run_stream(OnlineSoftmax(CONFIG), {"i": sent}, silence=SILENCE)
    expected = [alpha for sequence in sequences for alpha, *_ in golden(sequence)]
    assert [result["alpha"] for result in received] == expected


@pytest.mark.parametrize("blocks, latency", [(2, OnlineSoftmax.LATENCY), (1, OnlineSoftmax.LAST_LATENCY)])
def test_latency(blocks, latency):
    _, log = run_stream(OnlineSoftmax(CONFIG), {"i": words([(RAMP, ONES)] * blocks, 0, 0)}, silence=SILENCE)
    assert log["o"] == [log["i"][-1] + latency]
