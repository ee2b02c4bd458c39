"""NormMemory returns the bf16 of a LOAD_NORM payload as machine floats, whatever the stalls and the count."""

import numpy as np
import pytest

from hw.norm.norm_memory import NormMemory
from sim.golden.number import encode
from tests.hw.norm.vectors import CONFIGS, bf16, random_vector, split
from tests.hw.steps import Step, run_steps

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
        for address, word in enumerate(split(values, config.vector)):
            steps += [Step(set={"read.en": 1, "read.addr": address}),
                      Step(set={"read.en": 0, "read.addr": 0}, read=["read.data", "i.ready", "done"])]
            expected.append([encode(word).tolist(), 0, 0])
    run = run_steps(NormMemory(config), steps, outputs=[], pulses={"start": "", "done": ""}, stall=stall, seed=7,
                    simulator=simulator)
    assert run.read == expected
    return [done - start for start, done in zip(run.clocks["start"], run.clocks["done"], strict=True)]


def random_loads(config):
    rng = np.random.default_rng(3)
    return [bf16(random_vector(rng, count)) for count in COUNTS.values()]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_loads(name, stall):
    load(CONFIGS[name], random_loads(CONFIGS[name]), stall)


def test_verilated():
    config = CONFIGS["pair"]
    assert load(config, random_loads(config), simulator="verilator") == clocks(config)
    load(config, random_loads(config), 0.5, "verilator")


def clocks(config) -> list[int]:
    return [1 + -(-count // config.vector) for count in COUNTS.values()]


@pytest.mark.parametrize("name", CONFIGS)
def test_clocks(name):
    config = CONFIGS[name]
    assert load(config, [bf16(np.ones(count)) for count in COUNTS.values()]) == clocks(config)


def test_zero_exponent_is_zero():
    steps = [
        Step(set={"start": 1, "count": 2}),
        Step(set={"start": 0}, send={"i": [[0x7F, 0x80, 0x80, 0x80, 0, 0, 0, 0]]}, until="done"),
        Step(set={"read.en": 1}),
        Step(read=["read.data"]),
    ]
    assert run_steps(NormMemory(CONFIGS["pair"]), steps, outputs=[]).read == [[[0, 0x8080 << 9]]]
