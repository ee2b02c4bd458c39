"""A block arrives whole and in order, one after the other, whatever the memory's pauses."""

from __future__ import annotations

import random

import pytest

from hw.attention.block_loader import BlockLoader, block_beats
from hw.contract.config import PRESETS
from tests.hw.steps import Step, run_steps

TINY = PRESETS["tiny"]


def check(stall: float, simulator: str = "pysim") -> None:
    choose = random.Random(21)
    sizes = [1, 16, 272, block_beats(TINY), 3]
    steps, requests, expected = [], [], []
    for n, size in enumerate(sizes):
        block = [[choose.getrandbits(8) for _ in range(TINY.beat_bytes)] for _ in range(size)]
        requests.append({"address": 4096 * n, "beats": size})
        beats = [{"data": data, "last": int(i == size - 1)} for i, data in enumerate(block)]
        steps += [Step(send={"i_command": requests[-1:]}), Step(send={"i_gather": beats}, until="done"),
                  *(Step(set={"read.en": 1, "read.addr": i}, read=["read.data", "done"]) for i in range(size)),
                  Step(set={"read.en": 0}, read=["read.data", "done"])]
        expected += block  # each in the step after its address
    run = run_steps(BlockLoader(TINY), steps, outputs=["o_gather"], pulses={"done": ""}, stall=stall, seed=21,
                    simulator=simulator)
    assert run.received["o_gather"] == requests
    ends = [sum(sizes[: n + 1]) - 1 for n in range(len(sizes))]
    assert run.clocks["done"] == [run.clocks["i_gather"][end] + 1 for end in ends]
    read, start = [], 0
    for size in sizes:
        read += run.read[start + 1 : start + 1 + size]
        start += 1 + size
    assert read == [[data, 0] for data in expected]
    if not stall:
        for end, size in zip(ends, sizes, strict=True):
            clocks = run.clocks["i_gather"][end + 1 - size : end + 1]
            assert clocks == list(range(clocks[0], clocks[0] + size))


@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_blocks(stall: float) -> None:
    check(stall)


def test_verilated() -> None:
    for stall in (0.0, 0.6):
        check(stall, "verilator")
