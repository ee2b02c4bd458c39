"""NormMemory returns the bf16 of a LOAD_NORM payload as machine floats, whatever the stalls and the count."""

import numpy as np
import pytest

from hw.contract.config import PRESETS
from hw.norm.norm_memory import NormMemory, row_weights
from tests.hw.norm.vectors import CONFIGS, bf16, for_quantizer, random_vector
from tests.hw.steps import Step, run_steps

CASES = CONFIGS | {
    "rows of a beat, V = 1": CONFIGS["scalar"].replace(max_hidden=1024),
    "rows of a beat, V = 4": CONFIGS["wide"].replace(max_hidden=1024),
    "rows of half a beat": CONFIGS["wide"].replace(port_bits=512, rows=16, inputs=20, max_hidden=2048),
}
"""The memories of `CONFIGS` are so small that their rows have one word."""

COUNTS = {"one": 1, "one_short_of_a_word": 3, "one_beat": 4, "one_more_than_two_beats": 17, "full": 160}


def beats(config, values) -> list[list[int]]:
    """The payload: bf16 little endian, the last beat filled with rubbish."""
    raw = (np.asarray(values, dtype=np.float32).view(np.uint32) >> 16).astype("<u2").tobytes()
    raw += b"\xa5" * (-len(raw) % config.beat_bytes)
    return [list(raw[n:n + config.beat_bytes]) for n in range(0, len(raw), config.beat_bytes)]


def load(config, loads, stall=0.0, simulator="pysim") -> list[int]:
    """Load each vector and compare what can be read; returns the clocks from each start to its done."""
    steps, expected = [], []
    for values in loads:
        steps += [Step(set={"start": 1, "count": len(values)}),
                  Step(set={"start": 0, "count": 0}, send={"i": beats(config, values)}, until="done")]
        for address, word in enumerate(for_quantizer(values, config)):
            steps += [Step(set={"read.en": 1, "read.addr": address}),
                      Step(set={"read.en": 0, "read.addr": 0}, read=["read.data", "i.ready", "done"])]
            expected.append([word[: config.vector] if address % 2 else word, 0, 0])
    run = run_steps(NormMemory(config), steps, outputs=[], pulses={"start": "", "done": ""}, stall=stall, seed=7,
                    simulator=simulator)
    read = [[data[: len(word)], *others] for (data, *others), (word, *_) in zip(run.read, expected, strict=True)]
    assert read == expected
    return [done - start for start, done in zip(run.clocks["start"], run.clocks["done"], strict=True)]


def random_loads(config):
    rng = np.random.default_rng(3)
    return [bf16(random_vector(rng, count)) for count in COUNTS.values()]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_loads(name, stall):
    load(CASES[name], random_loads(CASES[name]), stall)


def test_verilated():
    config = CONFIGS["pair"]
    assert load(config, random_loads(config), simulator="verilator") == clocks(config)
    load(config, random_loads(config), 0.5, "verilator")


def clocks(config) -> list[int]:
    return [1 + -(-count // row_weights(config)) for count in COUNTS.values()]


@pytest.mark.parametrize("name", CASES)
def test_clocks(name):
    config = CASES[name]
    assert load(config, [bf16(np.ones(count)) for count in COUNTS.values()]) == clocks(config)


def test_weights_of_a_row():
    assert {name: row_weights(config) for name, config in CASES.items()} == {
        "scalar": 1, "pair": 4, "quad": 4, "wide": 8, "rows of a beat, V = 1": 4, "rows of a beat, V = 4": 8,
        "rows of half a beat": 16,
    }
    assert {name: row_weights(config) for name, config in PRESETS.items()} == {
        "tiny": 4, "tiny-kv16": 4, "ulx3s": 4, "ulx3s-bram": 2, "medium": 8, "kv260": 32,
    }


def test_zero_exponent_is_zero():
    steps = [
        Step(set={"start": 1, "count": 2}),
        Step(set={"start": 0}, send={"i": [[0x7F, 0x80, 0x80, 0x80, 0, 0, 0, 0]]}, until="done"),
        Step(set={"read.en": 1}),
        Step(read=["read.data"]),
    ]
    assert run_steps(NormMemory(CONFIGS["pair"]), steps, outputs=[]).read == [[[0, 0x8080 << 9, 0, 0]]]
