"""PowerSum equals the golden sum of the powers in every column; padding does not count."""

import math

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Out

from hw.contract.config import preset
from hw.logits.interfaces import logit_word
from hw.logits.power_sum import PowerSum
from hw.streams import fork
from hw.watch import watch
from sim.golden.number import MAX_FLOAT, rnd
from sim.golden.shortlist import power_sum, scaled_logits
from tests.golden.test_shortlist import LOGITS
from tests.hw.logits.test_argmax import words
from tests.hw.logits.test_scaled_logit import scale_code
from tests.hw.steps import Step, run_steps

CONFIG = preset("tiny")
FIVE = CONFIG.replace(columns=5, query_rows=8)
LOG2_E = math.log2(math.e)

SILENCE = 1200
"""Clocks in which all logits in the pipeline raise the reference by most places."""

CASES = LOGITS | {
    "rising by more than 64": [-100.0, 0.0, 100.0, 300.0, 299.0, 1000.0],
    "rising by every count": [n * (n - 1) / 2.0 for n in range(71)],
    "falling by every count": [1.0, *(float(-n) for n in range(71)), -100.0, -1000.0, -65536.0],
    "fractions at each distance": [0.0, *(-n - 0.40625 for n in range(71))],
    "up and down": [0.5, 0.25, 3.0, -5.0, 3.5, 3.75, 4.0, 0.0, 11.0, 10.0],
    "a row on the reference": [0.9375, 1.0, 1.0, 2.0, 1.9375],
    "from the lowest to the highest": [-MAX_FLOAT, -MAX_FLOAT, MAX_FLOAT, -MAX_FLOAT, MAX_FLOAT],
}


class Bench(wiring.Component):
    """The unit at a fork, whose other taker has to be ready too. `done` pulses when `busy` falls."""

    def __init__(self, config):
        self.config, self.unit = config, PowerSum(config)
        super().__init__(dict(self.unit.signature.members) | {
            "other": Out(stream.Signature(logit_word(config))), "idle": Out(1), "done": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        fork(m, self.i, [(1, unit.i), (1, self.other)])
        was_busy, taken = Signal(), Signal()
        m.d.sync += [was_busy.eq(unit.busy), taken.eq(self.i.valid & self.i.ready & ~self.i.payload.padding)]
        watch(m, platform, ~taken | unit.busy, "the unit is not busy with a logit that it has")
        m.d.comb += [
            unit.scale.eq(self.scale), unit.scale_en.eq(self.scale_en), unit.column.eq(self.column),
            self.busy.eq(unit.busy), self.sum.eq(unit.sum), self.reference.eq(unit.reference),
            self.idle.eq(~unit.busy), self.done.eq(was_busy & ~unit.busy),
        ]
        return m


def scales_of(columns, temperature):
    """A scale for each column, all different."""
    return [LOG2_E / temperature / (1 + n / 8) for n in range(len(columns))]


def expected(columns, scales):
    found = [power_sum(np.asarray(logits, dtype=float), scale) for logits, scale in zip(columns, scales, strict=True)]
    return [[one.sum, one.reference] for one in found]


def command(columns, scales, padding):
    """Writes the scales, sends the logits, and reads each column when the unit is done."""
    written = [Step(set={"scale": {"column": n, "scale": scale_code(scale)}, "scale_en": 1, "column": n})
               for n, scale in enumerate(scales)]
    reads = [Step(set={"column": n}, read=["sum", "reference"]) for n in range(len(columns))]
    return [*written, Step(set={"scale_en": 0}, send={"i": words(columns, padding)}), Step(until="idle"), *reads]


def run(commands, padding=0, config=CONFIG, **options):
    """Some commands, each columns and scales; returns the clocks."""
    steps = [step for columns, scales in commands for step in command(columns, scales, padding)]
    played = run_steps(Bench(config), steps, outputs=["other"], pulses={"done": "sum"}, **options)
    assert played.read == [one for columns, scales in commands for one in expected(columns, scales)]
    return played.clocks


def at_any(temperature, columns):
    return columns, scales_of(columns, temperature)


@pytest.mark.parametrize("temperature", [0.05, 1.0, LOG2_E, 7.0])
@pytest.mark.parametrize("name", CASES)
def test_named(name, temperature):
    """LOG2_E: the scale is 1."""
    logits = rnd(np.array(CASES[name]))
    run([([logits], [LOG2_E / temperature])], padding=3, silence=SILENCE)


@pytest.mark.parametrize("rise", [0, 1, 2, 33, 34, 35, 36, 62, 63, 64, 65, 66, 127, 128, 129, 1000, 2**18])
def test_latency(rise):
    """`busy` falls LATENCY clocks after the last logit, and later by what the reference rose; the sum is right then."""
    column = [0.5] * 5 + [float(rise)]
    clocks = run([([column], [1.0])], silence=SILENCE)
    waits = rise if rise < 64 else 0
    assert clocks["i"] == list(range(clocks["i"][0], clocks["i"][0] + 6))
    assert clocks["done"] == [clocks["i"][-1] + PowerSum.LATENCY + waits]


def test_the_sum_is_right_when_busy_falls():
    column = [1.0, 2.0, 0.0, 5.0]
    played = run_steps(Bench(CONFIG), command([column], [1.0], 0), outputs=["other"], pulses={"done": "sum"})
    assert played.received["done"] == [power_sum(np.array(column), 1.0).sum]


def test_throughput():
    """One logit per clock while nothing rises, of one column and of two, across commands of different columns."""
    for columns in ([[0.0] * 100], [[0.25] * 60, [-float(n) for n in range(60)]]):
        log = run([at_any(1.0, columns)], padding=2)["i"]
        assert log == list(range(log[0], log[0] + len(log)))


def test_cost_of_rises():
    """Forty rows that each raise the reference by one: another clock for each."""
    log = run([([[float(n) for n in range(40)]], [1.0])])
    assert log["done"][0] - log["i"][0] == PowerSum.LATENCY + 39 + 39


def test_commands_do_not_meet():
    """The second command has other columns, scales and fewer rows, and comes while the first is under way."""
    first, second = [[5.0, 9.0, 1.0], [3e4, 1.0, 2.0]], [[-4.0, -9.0], [0.5, 0.25]]
    run([at_any(1.0, first), at_any(0.3, second), at_any(2.0, first)], padding=1)
    steps = command(first, [1.0, 1.0], 2)[:3] + command(second, [1.0, 1.0], 0)[2:]
    played = run_steps(Bench(CONFIG), steps, outputs=["other"])
    assert played.read == expected(second, [1.0, 1.0])


def random_commands(seed, most_columns=2, most_rows=40):
    random = np.random.default_rng(seed)
    for _ in range(8):
        shape = (int(random.integers(1, most_columns + 1)), int(random.integers(1, most_rows)))
        spread = 10.0 ** random.integers(-3, 3, (shape[0], 1))
        columns = rnd(random.normal(size=shape) * spread + 10.0 ** random.integers(-2, 4, (shape[0], 1)))
        yield list(columns), [LOG2_E / 10.0 ** random.uniform(-1.3, 0.85) for _ in range(shape[0])]


@pytest.mark.parametrize("seed", range(6))
def test_random_with_stalls(seed):
    run(list(random_commands(seed)), padding=seed % 3, stall=(0.0, 0.3, 0.7)[seed % 3], seed=seed, silence=SILENCE)


def test_rows_that_come_late():
    """With pauses longer than the pipeline the sums are the same: every logit finds the state of the one before."""
    column, scales = rnd(np.array(CASES["up and down"])), [1.0]
    *before, send, idle, read = command([column], scales, 0)
    late = [Step(set=send.set, send={"i": [word]}, clocks=PowerSum.LATENCY + 20) for word in send.send["i"]]
    played = run_steps(Bench(CONFIG), [*before, *late, idle, read], outputs=["other"])
    assert played.read == expected([column], scales)


def test_most_columns():
    """All cases side by side, five at a time: a column that rises does not disturb the others."""
    names = [name for name in CASES if len(CASES[name]) >= 5]
    groups = [[rnd(np.array(CASES[name][:5])) for name in names[n:n + 5]] for n in range(0, len(names), 5)]
    run([at_any(0.5, group) for group in groups], padding=1, config=FIVE, silence=SILENCE)
    run(list(random_commands(8, most_columns=5)), padding=2, config=FIVE, stall=0.3, silence=SILENCE)


def test_verilated():
    cases = [rnd(np.array(logits)) for logits in CASES.values()]
    for stall in (0.0, 0.4):
        run([*(at_any(1.0, [case]) for case in cases), *random_commands(1, most_rows=300)], padding=1, stall=stall,
            simulator="verilator", silence=SILENCE)


def test_the_largest_sum():
    """As many rows as there may be, all just below the reference."""
    column = [1.0 - 2.0**-17] * CONFIG.max_vocab
    assert scaled_logits(np.array(column[:1]), 1.0) == 2**20 - 8
    run([([column], [1.0])], simulator="verilator")
