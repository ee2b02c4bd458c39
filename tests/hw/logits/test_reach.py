"""Reach equals the golden reach of every vector, whenever its words come."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import AccelConfig, preset
from hw.contract.high_plane import GUARD_BITS, guard, largest_reach
from hw.delay import delayed
from hw.dot.interfaces import activation_word
from hw.logits.reach import Reach
from sim.golden.split_head import reach
from tests.hw.steps import Run, Step, run_steps

MOST = 32767
CONFIGS = {lanes: preset(name).replace(candidates=64) for lanes, name in ((1, "ulx3s"), (4, "tiny"), (8, "kv260"))}
GUARDS = [guard(8.0), 0, 1, 255, 256, (1 << GUARD_BITS) - 1]


def latency(config: AccelConfig) -> int:
    """Squares, tree, sum, a clock per bit of the root and of GUARD."""
    return 2 + config.quantize_lanes.bit_length() - 1 + math.isqrt(MOST * MOST * config.max_hidden).bit_length() + 16


class Bench(wiring.Component):
    """The unit, with a stream in front of it that has `ready`. `ended` comes `late` clocks behind the last word."""

    def __init__(self, config: AccelConfig, late: int = 0) -> None:
        self.config, self.late, self.unit = config, late, Reach(config)
        members = self.unit.signature.members
        super().__init__({
            **{name: members[name] for name in ("start", "guard", "reach", "valid")},
            "i": In(stream.Signature(data.StructLayout({"word": activation_word(config), "last": 1}))),
            "ended": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.unit = unit = self.unit
        last = Signal()
        m.d.comb += [
            last.eq(self.i.valid & self.i.payload.last), self.ended.eq(delayed(m, last, self.late, name="late")),
            unit.i.valid.eq(self.i.valid), unit.i.payload.eq(self.i.payload.word), self.i.ready.eq(1),
            unit.start.eq(self.start), unit.guard.eq(self.guard), unit.ended.eq(self.ended),
            self.reach.eq(unit.reach), self.valid.eq(unit.valid),
        ]
        return m


def words(codes: Sequence[int], config: AccelConfig) -> list[dict[str, Any]]:
    lanes = config.quantize_lanes
    padded = [*codes, *[0] * (-len(codes) % lanes)]
    count = len(padded) // lanes
    return [{"word": {"index": n, "row": 0, "codes": padded[n * lanes : (n + 1) * lanes]}, "last": n == count - 1}
            for n in range(count)]


def begin(config: AccelConfig, codes: Sequence[int], guarded: int) -> list[Step]:
    return [Step(set={"start": 1, "guard": guarded}), Step(set={"start": 0}, read=("valid",)),
            Step(send={"i": words(codes, config)})]


def steps_of(config: AccelConfig, codes: Sequence[int], guarded: int) -> list[Step]:
    return [*begin(config, codes, guarded), Step(until="valid"), Step(clocks=3, read=("valid", "reach"))]


def check(config: AccelConfig, vectors: Sequence[tuple[Sequence[int], int]], late: int = 0, **options: Any) -> Run:
    """One vector behind the other."""
    steps = [step for codes, guarded in vectors for step in steps_of(config, codes, guarded)]
    options = {"silence": latency(config) + late + 20} | options
    dut = Bench(config, late)
    assert dut.unit.latency == latency(config)
    run = run_steps(dut, steps, outputs=(), pulses={"valid": "reach", "ended": ""}, **options)
    assert run.read[::2] == [[0]] * len(vectors)
    assert run.read[1::2] == [[1, reach(np.asarray(codes, dtype=np.int64), guarded)] for codes, guarded in vectors]
    return run


def near_squares() -> list[list[int]]:
    """Vectors whose sum is a square, or one beside it."""
    return [[k, *[1] * n] for k in (1, 2, 3, 100, 181, 32766, MOST) for n in (0, 1, 2)] + [
        [3, 4], [3, 4, 1], [2, 2, 2, 2], [20, 21], [1, 1, 1], [*[1] * 8], [*[MOST] * 4], [*[MOST] * 9], [*[MOST] * 16]]


def random_vectors(config: AccelConfig, seed: int, count: int = 12) -> list[tuple[list[int], int]]:
    random = np.random.default_rng(seed)
    return [(random.integers(-limit, limit + 1, int(random.integers(1, min(config.max_hidden, 300) + 1))).tolist(),
             int(random.choice([guard(8.0), random.integers(0, 1 << GUARD_BITS)])))
            for limit in random.choice([1, 9, 300, 16000, MOST], count).tolist()]


@pytest.mark.parametrize("lanes", CONFIGS)
def test_lanes(lanes: int) -> None:
    assert CONFIGS[lanes].quantize_lanes == lanes


@pytest.mark.parametrize("guarded", GUARDS)
@pytest.mark.parametrize("lanes", CONFIGS)
def test_corners(lanes: int, guarded: int) -> None:
    """Nothing, least and largest numbers of both signs, single numbers in any place of a word."""
    vectors = [[0], [0] * 20, [1], [-1], [MOST], [-MOST], [MOST, -MOST] * 10,
               *([0] * n + [sign * 1234] for n in range(9) for sign in (1, -1))]
    check(CONFIGS[lanes], [(codes, guarded) for codes in vectors])


@pytest.mark.parametrize("lanes", CONFIGS)
def test_sums_that_are_squares(lanes: int) -> None:
    """The root is rounded down."""
    for guarded in (256, guard(8.0)):
        check(CONFIGS[lanes], [(codes, guarded) for codes in near_squares()])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("lanes", CONFIGS)
def test_random_with_stalls(lanes: int, seed: int) -> None:
    stall = (0.0, 0.3, 0.7)[seed % 3]
    check(CONFIGS[lanes], random_vectors(CONFIGS[lanes], seed), late=seed // 3, stall=stall, seed=seed)


@pytest.mark.parametrize("late", [0, 1, 2, 3, 4, 5, 50])
@pytest.mark.parametrize("lanes", CONFIGS)
def test_latency(lanes: int, late: int) -> None:
    """The same for all numbers, from `ended` on."""
    config = CONFIGS[lanes]
    for codes in ([0], [MOST] * 24, [5] * 17):
        clocks = check(config, [(codes, 9999)], late).clocks
        assert clocks["ended"] == [clocks["i"][-1] + late]
        assert clocks["i"] == list(range(clocks["i"][0], clocks["i"][0] + len(words(codes, config))))
        assert clocks["valid"][0] == clocks["ended"][0] + latency(config)


def test_documented_latency() -> None:
    assert [latency(CONFIGS[lanes]) for lanes in (4, 8)] == [41, 42]


@pytest.mark.parametrize("lanes", CONFIGS)
def test_a_start_forgets_what_is_under_way(lanes: int) -> None:
    """At any time: the end in the pipeline, root, product, result."""
    config, first, second = CONFIGS[lanes], [MOST] * 24, [-7, 300, 12]
    for clocks in range(latency(config) + 3):
        cut = [Step(clocks=clocks)] * (clocks > 0)
        steps = [*begin(config, first, 777), *cut, *steps_of(config, second, guard(8.0))]
        run = run_steps(Bench(config), steps, outputs=(), silence=80)
        assert run.read == [[0], [0], [1, reach(np.array(second), guard(8.0))]]


@pytest.mark.parametrize("lanes", CONFIGS)
def test_a_start_forgets_words_in_the_pipeline(lanes: int) -> None:
    """The last words of the vector before, and its end, come in the clock of `start`."""
    config, second = CONFIGS[lanes], [-7, 300, 12]
    forgotten = Step(set={"start": 1, "guard": 256}, send={"i": words([MOST] * 24, config)})
    steps = [forgotten, Step(set={"start": 0}), *steps_of(config, second, 256)[2:]]
    assert run_steps(Bench(config), steps, outputs=(), silence=80).read == [[1, reach(np.array(second), 256)]]


def test_a_word_behind_the_end() -> None:
    config = CONFIGS[4]
    with pytest.raises(AssertionError, match="a word comes behind the end of its vector"):
        run_steps(Bench(config), [*begin(config, [1], 256), Step(send={"i": words([1], config)})], outputs=())


def test_a_code_that_no_activation_has() -> None:
    config = CONFIGS[4]
    with pytest.raises(AssertionError, match="activation 1 is -32768, beyond 32767"):
        run_steps(Bench(config), steps_of(config, [0, -MOST - 1], 256), outputs=())


@pytest.mark.parametrize("simulator", ["verilator", "netlist"])
@pytest.mark.parametrize("lanes", CONFIGS)
def test_verilated(lanes: int, simulator: str) -> None:
    config = CONFIGS[lanes]
    vectors = random_vectors(config, 1, 30) + [(codes, guard(8.0)) for codes in near_squares()]
    check(config, vectors, simulator=simulator)
    check(config, vectors, late=1, stall=0.4, simulator=simulator)


@pytest.mark.parametrize("hidden", [1, 2, 3, 1000, 65535])
def test_the_largest_reach(hidden: int) -> None:
    config = CONFIGS[4].replace(max_hidden=hidden)
    run = check(config, [([MOST] * hidden, (1 << GUARD_BITS) - 1), ([-MOST] * hidden, 1)], simulator="verilator")
    assert run.read[1] == [1, largest_reach(config)]
