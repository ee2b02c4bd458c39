"""PackActivations equals a reshape with zero padding; no word beyond the array's memory is written."""

import numpy as np
import pytest

from hw.norm.pack_activations import PackActivations
from tests.hw.norm.vectors import CONFIGS, split
from tests.hw.steps import Step, run_steps

LENGTHS = {"one_word": 1, "one_activation_word": 20, "tail": 57, "one_more": 21, "longest": 160}


def words(config, column, codes) -> list[dict]:
    rows = [[int(code) for code in row] for row in split(codes, config.quantize_lanes)]
    return [{"column": column, "index": n, "codes": row, "last": n == len(rows) - 1} for n, row in enumerate(rows)]


def pack(config, vectors, stall=0.0, simulator="pysim") -> tuple[list, dict[str, list[int]]]:
    """Send (column, codes) one after the other; returns the writes, and the clocks of input and `o_done`."""
    sent = [word for vector in vectors for word in words(config, *vector)]
    run = run_steps(PackActivations(config), [Step(send={"i": sent})], outputs=[], pulses={"o_en": "o", "o_done": ""},
                    stall=stall, seed=5, simulator=simulator)
    writes = [(write["column"], write["address"], write["values"]) for write in run.received["o_en"]]
    return writes, run.clocks


def expected(config, vectors) -> list:
    """Codes with the padding to Q lanes, in words of Kc; words that the memory does not have are left out."""
    out = []
    for column, codes in vectors:
        padded = np.array(split(codes, config.quantize_lanes)).ravel()
        for address, row in enumerate(split(padded, config.inputs)[: config.activation_words]):
            out.append((column, address, [int(code) for code in row]))
    return out


def check(config, stall, simulator="pysim"):
    """The named lengths, then random ones."""
    rng = np.random.default_rng(11)
    lengths = [*LENGTHS.values(), *rng.integers(1, 161, 8).tolist()]
    vectors = [(n % config.columns, rng.integers(-127, 128, length)) for n, length in enumerate(lengths)]
    writes, clocks = pack(config, vectors, stall, simulator)
    assert writes == expected(config, vectors)
    assert len(clocks["o_done"]) == len(vectors)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_matches_reshape(name, stall):
    check(CONFIGS[name], stall)


def test_verilated():
    for stall in (0.0, 0.4):
        check(CONFIGS["quad"], stall, "verilator")


@pytest.mark.parametrize("name", CONFIGS)
def test_latency(name):
    config = CONFIGS[name]
    _, clocks = pack(config, [(0, np.full(config.inputs * config.quantize_lanes, -127))])
    assert clocks["i"] == list(range(clocks["i"][0], clocks["i"][0] + config.inputs))
    assert clocks["o_done"] == [clocks["i"][-1] + 1]


def test_word_beyond_the_memory_is_dropped():
    config = CONFIGS["quad"]
    vectors = [(1, np.full(160, 1)), (0, np.full(162, 1))]
    writes, clocks = pack(config, vectors)
    assert writes == expected(config, vectors)
    assert len(writes) == 2 * config.activation_words
    assert len(clocks["o_done"]) == 2
