# amaranth: UnusedElaboratable=no
"""DotEngine equals plain integer dot products."""

import numpy as np
import pytest

from hw.contract.config import ceil_div, preset
from hw.dot.dot_engine import DotEngine
from tests.hw.steps import run_stream

TINY = preset("tiny")
WIDE = TINY.replace(port_bits=128, rows=4, inputs=20)
CONFIGS = {"tiny_8": (TINY, 8), "tiny_16": (TINY, 16), "wide_8": (WIDE, 8), "wide_16": (WIDE, 16)}
LONGEST = 128


def engine(name):
    config, bits = CONFIGS[name]
    return DotEngine(config, lanes=config.beat_bytes, element_bits=bits, max_elements=LONGEST)


def beats(config, bits, operands, codes):
    """One row as the beats and operands the engine is fed with; what pads the last beat is zero."""
    per_beat, size = config.beat_bytes * 8 // bits, config.beat_bytes
    padded = ceil_div(len(codes), per_beat) * per_beat
    memory = np.zeros(padded, dtype=np.int8 if bits == 8 else np.int16)
    memory[: len(codes)] = codes
    factors = np.zeros(padded, dtype=np.int64)
    factors[: len(operands)] = operands
    data, lanes = memory.view(np.uint8).tolist(), np.repeat(factors, bits // 8).tolist()
    starts = range(0, len(data), size)
    return [
        {"beat": data[n : n + size], "operands": lanes[n : n + size], "first": n == 0, "last": n == starts[-1]}
        for n in starts
    ]


def corner_rows(bits):
    """Operands and codes: the four corners of the ranges, zeros, low bytes of all ones."""
    top = 2 ** (bits - 1) - 1
    fill = [(a, c) for a in (-32767, 32767) for c in (-top, top)] + [(0, top), (-32767, 0), (-32767, -1), (1, 1)]
    return [(np.full(LONGEST, a), np.full(LONGEST, c)) for a, c in fill]


def random_rows(bits, seed, count):
    random = np.random.default_rng(seed)
    top = 2 ** (bits - 1)
    lengths = random.integers(1, LONGEST, count)  # short of the longest, so that codes of -top fit too
    return [(random.integers(-32768, 32768, n), random.integers(-top, top, n)) for n in lengths]


def run(name, rows, **options):
    config, bits = CONFIGS[name]
    fed = [beat for operands, codes in rows for beat in beats(config, bits, operands, codes)]
    received, log = run_stream(engine(name), {"i": fed}, **options)
    assert received == [int(operands @ codes) for operands, codes in rows]
    return log


def test_verilated():
    rows = corner_rows(8) + random_rows(8, 1, 25)
    run("tiny_8", rows, simulator="verilator")
    run("tiny_8", rows, stall=0.5, seed=1, simulator="verilator")


def test_sum_widths_of_the_numeric_contract():
    assert DotEngine(TINY, lanes=8, element_bits=8, max_elements=128).sum_bits == 30
    assert DotEngine(TINY, lanes=8, element_bits=16, max_elements=128).sum_bits == 38
    assert DotEngine(TINY, lanes=8, element_bits=8, max_elements=2048).sum_bits == 34


@pytest.mark.parametrize("bits", [0, 4, 12])
def test_refuses_other_elements(bits):
    with pytest.raises(ValueError, match=f"element_bits must be 8 or 16, not {bits}"):
        DotEngine(TINY, lanes=8, element_bits=bits, max_elements=128)


@pytest.mark.parametrize("name", CONFIGS)
def test_corners(name):
    run(name, corner_rows(CONFIGS[name][1]))


@pytest.mark.parametrize("name", CONFIGS)
def test_one_lane_at_a_time(name):
    config, bits = CONFIGS[name]
    count = config.beat_bytes * 8 // bits
    run(name, [(np.eye(count, dtype=np.int64)[n] * -321, np.arange(count) - 3) for n in range(count)])


@pytest.mark.parametrize("name", CONFIGS)
def test_cycles(name):
    """One beat per clock, also across rows; the sum `latency` clocks after the last beat."""
    config, bits = CONFIGS[name]
    rows = random_rows(bits, 5, 20)
    log = run(name, rows)
    assert log["i"] == list(range(log["i"][0], log["i"][0] + len(log["i"])))
    ends = np.cumsum([ceil_div(len(codes) * bits // 8, config.beat_bytes) for _, codes in rows]) - 1
    assert log["o"] == [log["i"][n] + engine(name).latency for n in ends]


def test_latency():
    assert {name: engine(name).latency for name in CONFIGS} == {"tiny_8": 6, "tiny_16": 6, "wide_8": 7, "wide_16": 7}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", CONFIGS)
def test_random_with_stalls(name, seed):
    run(name, random_rows(CONFIGS[name][1], seed, 25), stall=(0.2, 0.5, 0.8, 0.0)[seed], seed=seed)
