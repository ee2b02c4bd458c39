# amaranth: UnusedElaboratable=no
"""LmHeadRowReader hands on the beats of the rows that count, with their scales, and consumes all others."""

import numpy as np
import pytest

from hw.contract.config import ceil_div, preset
from hw.logits.row_reader import LmHeadRowReader
from sim.golden.number import encode, rnd
from tests.hw.logits.packets import head_payload
from tests.hw.steps import run_stream

TINY = preset("tiny").replace(max_hidden=64, max_vocab=64)
WIDE = TINY.replace(port_bits=128, rows=4, inputs=20)
CONFIGS = {"tiny": TINY, "wide": WIDE}


def packet(seed, m, k):
    random = np.random.default_rng(seed)
    return random.integers(-127, 128, (m, k)), rnd(random.normal(size=m))


def expected(config, rows, scales):
    """Every beat that must come out."""
    (m, k), size = rows.shape, config.beat_bytes
    count = ceil_div(k, size)
    data = np.zeros((m, count * size), dtype=np.int8)
    data[:, :k] = rows
    words = []
    for row in range(m):
        for n in range(count):
            used = min(size, k - n * size)
            part = data[row, n * size : (n + 1) * size]
            words.append({
                "beat": part.view(np.uint8).tolist(), "address": n, "lanes": (1 << used) - 1,
                "first": n == 0, "last": n == count - 1, "row": row, "last_row": row == m - 1,
                "scale": int(encode(scales[row])),
            })
    return words


def run(config, packets, **options):
    received, log = run_stream(LmHeadRowReader(config), {
        "i_command": [{"m": rows.shape[0], "k": rows.shape[1]} for rows, _ in packets],
        "i_beats": [beat for rows, scales in packets for beat in head_payload(config, rows, scales)],
    }, **options)
    assert received == [word for rows, scales in packets for word in expected(config, rows, scales)]
    return log


ROWS, ELEMENTS = [1, 2, 3, 4, 5, 64], [1, 8, 9, 64]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("m", ROWS)
@pytest.mark.parametrize("k", ELEMENTS)
def test_extents(name, m, k):
    run(CONFIGS[name], [packet(m, m, k), packet(k, 1, k)])


def test_verilated():
    packets = [packet(m, m, k) for m in ROWS for k in ELEMENTS]
    run(TINY, packets, simulator="verilator")
    run(TINY, packets, stall=0.5, seed=1, simulator="verilator")


@pytest.mark.parametrize("name", CONFIGS)
def test_cycles(name):
    """A clock for the command, one per beat, dropped ones too; a beat leaves in the clock in which it comes."""
    config = CONFIGS[name]
    packets = [packet(1, 5, 30), packet(2, 3, 9)]
    log = run(config, packets)
    first = len(head_payload(config, *packets[0]))
    begin = log["i_command"][0] + 1
    assert log["i_beats"][:first] == list(range(begin, begin + first))
    assert log["i_command"][1] == begin + first
    assert set(log["o"]) <= set(log["i_beats"])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", CONFIGS)
def test_random_with_stalls(name, seed):
    random = np.random.default_rng(seed)
    packets = [packet([seed, n], int(random.integers(1, 12)), int(random.integers(1, 65))) for n in range(6)]
    run(CONFIGS[name], packets, stall=(0.2, 0.5, 0.8)[seed % 3], seed=seed)
