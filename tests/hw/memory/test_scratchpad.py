"""Scratchpad returns what was written last, one clock after the address, and holds it."""

import random

import pytest

from hw.contract.config import AccelConfig
from hw.memory.scratchpad import Scratchpad, scratchpad_depth
from tests.hw.steps import Step, run_steps

SIZES = {"max_hidden": 32, "max_intermediate": 64}
CONFIGS = {
    "scalar": AccelConfig(name="scalar", vector=1, columns=1, **SIZES),
    "pair": AccelConfig(name="pair", vector=2, columns=3, **SIZES),
    "quad": AccelConfig(name="quad", vector=4, rows=4, inputs=10, columns=2, **SIZES),
    "wide": AccelConfig(name="wide", port_bits=128, vector=4, rows=8, inputs=10, columns=2, **SIZES),
}


def check_random(config, simulator="pysim"):
    """Reads and writes in every clock, often of the same word; the first and the last word among them.

    Behind the last word is none.
    """
    choose = random.Random(config.name)
    depth = scratchpad_depth(config)
    places = [0, 1, depth - 2, depth - 1, *choose.sample(range(2, depth - 2), 4)]
    zero, pair = [0] * config.vector, config.quantize_lanes > config.vector
    content, held = {}, zero * (1 + pair)
    steps, expected = [], []
    for _ in range(2000):
        read, write = choose.random() < 0.7, choose.random() < 0.7
        source, target = choose.choice(places), choose.choice(places)
        word = [choose.getrandbits(25) for _ in range(config.vector)]
        steps.append(Step(read=["read.data", "values"], set={
            "read.en": read, "read.addr": source, "write.en": write, "write.addr": target, "write.data": word,
        }))
        expected.append([held[: config.vector], held])
        if read:
            held = content.get(source, zero)
            if pair and source < depth - 1:
                held = held + content.get(source + 1, zero)
        if write:
            content[target] = word
    got = run_steps(Scratchpad(config), steps, outputs=[], simulator=simulator).read
    assert [[data, values[: len(held)]] for (data, values), (_, held) in zip(got, expected, strict=True)] == expected


def check_every_word(config, simulator="pysim"):
    words = [[address * config.vector + lane for lane in range(config.vector)]
             for address in range(scratchpad_depth(config))]
    steps = [Step(set={"write.en": 1, "write.addr": address, "write.data": word}) for address, word in enumerate(words)]
    steps.append(Step(set={"write.en": 0, "read.en": 1}))
    for address in range(len(words)):
        steps += [Step(set={"read.addr": address}), Step(read=["read.data"])]
    run = run_steps(Scratchpad(config), steps, outputs=[], simulator=simulator)
    assert run.read == [[word] for word in words]


@pytest.mark.parametrize("name", CONFIGS)
def test_random(name):
    check_random(CONFIGS[name])


@pytest.mark.parametrize("name", CONFIGS)
def test_every_word_is_its_own(name):
    check_every_word(CONFIGS[name])


def test_verilated():
    check_random(CONFIGS["pair"], "verilator")
    check_every_word(CONFIGS["pair"], "verilator")
