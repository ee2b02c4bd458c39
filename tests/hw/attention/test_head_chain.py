"""Score, OnlineSoftmax, WeightedValues and Accumulate in a row equal the golden attention of a group of heads."""

import numpy as np
import pytest

from hw.attention.head_chain import HeadChain
from hw.attention.softmax import OnlineSoftmax
from hw.contract.config import BLOCK_POSITIONS, AccelConfig
from sim.golden.attention import KvHead, attend_head, quantize_query
from sim.golden.number import encode, rnd
from tests.hw.attention.test_weighted_values import beats
from tests.hw.steps import run_stream

CONFIGS = {
    bits: AccelConfig(name=f"kv{bits}", kv_bits=bits, max_head_dim=16, max_group=2) for bits in (8, 16)
}
HEAD_DIM = 16


def check(config, position, simulator="pysim", stall=0.1):
    bits, rng = config.kv_bits, np.random.default_rng(position)
    memory = np.zeros(3 * config.kv_block_bytes(HEAD_DIM), dtype=np.uint8)
    cache = KvHead.view(config, memory, HEAD_DIM)
    for place in range(position + 1):
        cache.append(place, rnd(rng.normal(size=HEAD_DIM) * 2), rnd(rng.normal(size=HEAD_DIM)), bits)
    queries = rnd(rng.normal(size=(config.max_group, HEAD_DIM)) * 2)
    softmax_scale = float(rnd(HEAD_DIM**-0.5 * np.log2(np.e)))

    codes, query_scales = quantize_query(queries, softmax_scale)
    sums, values = [], []
    last_block = position // BLOCK_POSITIONS
    for block in range(last_block + 1):
        valid = min(BLOCK_POSITIONS, position + 1 - block * BLOCK_POSITIONS)
        dots = codes @ cache.keys[block, :valid].astype(np.int64).T
        for head in range(config.max_group):
            for place in range(valid):
                key_scale, value_scale = encode(cache.scales[block, place].astype(np.float64)).tolist()
                sums.append({
                    "sum": int(dots[head, place]), "query_scale": int(encode(query_scales[head])),
                    "key_scale": key_scale, "head": head, "value_scale": value_scale, "last": place == valid - 1,
                    "first_block": block == 0, "last_block": block == last_block,
                })
            values += beats(config, cache.values[block, :valid])
    got, _ = run_stream(HeadChain(config), {"i": sums, "values": values}, stall=stall, seed=position,
                        silence=OnlineSoftmax.LAST_LATENCY + 100, simulator=simulator)

    outputs = encode(attend_head(queries, cache, position, softmax_scale))
    words = HEAD_DIM // config.vector
    assert got == [
        {"head": head, "values": word, "last": n == words - 1}
        for head in range(config.max_group) for n, word in enumerate(outputs[head].reshape(words, -1).tolist())
    ]


@pytest.mark.parametrize("bits", CONFIGS)
@pytest.mark.parametrize("position", [0, 15, 16, 37])
def test_chain_equals_golden(bits, position):
    check(CONFIGS[bits], position)


def test_verilated():
    for position, stall in ((0, 0.0), (16, 0.0), (37, 0.4)):
        check(CONFIGS[8], position, "verilator", stall)
