"""The lists equal the golden ones in every column; of equal logits the lowest row is first; padding does not count."""

from bisect import insort

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hw.contract.config import preset
from hw.contract.shortlist import SHORTLIST_ROWS
from hw.logits.top_logits import TopLogits
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, decode, encode, rnd
from sim.golden.shortlist import best_rows
from tests.hw.steps import Step, run_steps

CONFIG = preset("tiny")
SILENCE = 140
"""More clocks than the last two logits take, which are both in the unit."""

FIVE = CONFIG.replace(columns=5, query_rows=8)

RANDOM = rnd(np.random.default_rng(0).normal(size=300))
UP = [float(n) for n in range(-70, 80)]

CASES = {
    "one_row": [3.0],
    "one_negative_row": [-3.0],
    "two_rows": [-3.0, 2.0],
    "one_missing": RANDOM[:63],
    "full": RANDOM[:64],
    "one_lost": RANDOM[:65],
    "last_row_is_the_best": [*RANDOM[:64], 100.0],
    "row_63_is_the_best": [*RANDOM[:63], 100.0, 99.0],
    "many": RANDOM,
    "all_equal": [1.5] * 130,
    "all_zero": [0.0] * 70,
    "ties": [float(n % 3) for n in range(200)],
    "tie_with_the_last": [2.0] * 63 + [1.0] * 4 + [2.0, 1.0, 2.0],
    "tie_with_the_threshold_of_a_moment_ago": [*UP[:64], *[UP[0]] * 2, UP[1], UP[1], UP[2], UP[1], UP[2]],
    "ascending": UP,
    "descending": UP[::-1],
    "ascending_to_the_middle": [*UP[:64][::-1], *[-38.5 + n / 64 for n in range(20)]],
    "all_negative": -abs(RANDOM),
    "zero_between_signs": [-MIN_FLOAT, 0.0, MIN_FLOAT, -1.0] * 20,
    "limits": [-MAX_FLOAT, MAX_FLOAT, 0.0] * 50,
    "neighbors": decode(encode(np.asarray(1.0)) + np.arange(100) * 37 % 100),
}


class Bench(wiring.Component):
    """The unit, which also says when it is not busy."""

    def __init__(self, config):
        self.config, self.unit = config, TopLogits(config)
        super().__init__({**self.unit.signature.members, "idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        for name in ("i", "read"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(unit, name))
        m.d.comb += [self.busy.eq(unit.busy), self.idle.eq(~unit.busy)]
        return m


def words(columns, padding=0):
    """Row by row, of each row column by column, then rows of padding with larger logits than all."""
    codes = encode(np.asarray(columns, dtype=float)).T
    sent = [{"column": n, "row": row, "logit": code, "padding": 0, "last": not padding and row == len(codes) - 1}
            for row, one in enumerate(codes.tolist()) for n, code in enumerate(one)]
    return sent + [{"column": n, "row": len(codes) + row, "logit": int(encode(MAX_FLOAT)), "padding": 1,
                    "last": row == padding - 1} for row in range(padding) for n in range(len(columns))]


def expected(logits):
    logits = np.asarray(logits, dtype=float)
    rows = best_rows(logits)
    return [[int(row), int(code)] for row, code in zip(rows, encode(logits[rows]), strict=True)]


def moves(logits):
    """The entries that each logit moves; -1 for one that does not enter."""
    kept, moved = [], []
    for row, logit in enumerate(logits):
        entry = (-logit, row)
        insort(kept, entry)
        place = kept.index(entry)
        del kept[SHORTLIST_ROWS:]
        moved.append(len(kept) - 1 - place)
    return moved


def run(commands, padding=0, config=CONFIG, **options):
    """The logits of the columns of some commands, of which each list is read; returns the clocks."""
    steps = []
    for columns in commands:
        steps += [Step(send={"i": words(columns, padding)}), Step(until="idle")]
        steps += [Step(set={"read.column": column, "read.place": place}, clocks=2, read=("read.row", "read.logit"))
                  for column, logits in enumerate(columns) for place in range(min(len(logits), SHORTLIST_ROWS))]
    played = run_steps(Bench(config), steps, outputs=(), pulses={"busy": ""}, silence=SILENCE, **options)
    assert played.read == [entry for columns in commands for logits in columns for entry in expected(logits)]
    return played.clocks


@pytest.mark.parametrize("name", CASES)
def test_named(name):
    run([[CASES[name]]], padding=len(name) % 3)


def test_columns_do_not_meet():
    run([[CASES["ascending"], CASES["descending"]], [[1.0] * 65, [*range(65)]], [[*range(64)], [2.0] * 64]])


def test_padding_does_not_count():
    """Neither in a list that is not full, nor in a full one."""
    for rows in (1, 63, 64, 100):
        run([[RANDOM[:rows], -RANDOM[:rows]]], padding=4)


def test_a_command_forgets_the_one_before():
    """Its threshold too, which is larger than all that follows."""
    run([[[1e6] * 70] * 2, [RANDOM[:5]] * 2, [RANDOM[5:75]] * 2, [[-1.0]], [RANDOM[:63] - 10] * 2, [-abs(RANDOM)]])


def test_commands_without_a_pause():
    """The second begins while the last logit of the first is placed, in both columns."""
    first, second = [UP, UP], [RANDOM[:66], -RANDOM[:66]]
    reads = [Step(set={"read.column": n, "read.place": place}, clocks=2, read=("read.row", "read.logit"))
             for n in range(2) for place in range(SHORTLIST_ROWS)]
    played = run_steps(Bench(CONFIG), [Step(send={"i": words(first) + words(second)}), Step(until="idle"), *reads],
                       outputs=(), silence=SILENCE)
    assert played.read == [entry for logits in second for entry in expected(logits)]


def test_cycles_of_logits_that_do_not_enter():
    """One per clock, from the first one behind those that fill the list; the same for padding."""
    log = run([[[1.0] * 164]], padding=20)
    behind = log["i"][SHORTLIST_ROWS + 1:]
    assert behind == list(range(behind[0], behind[0] + 119))
    assert log["busy"][-1] == behind[-1] + 1


@pytest.mark.parametrize("name", ["one_row", "two_rows", "many", "ties", "ascending", "descending"])
def test_cycles(name):
    """The unit is busy in one clock for each logit, and in n + 1 more for one that moves n entries, without a break."""
    log, moved = run([[CASES[name]]]), moves(CASES[name])
    work = [n + 2 for n in moved]
    assert max(work) <= 65
    assert log["busy"] == list(range(log["i"][0] + 1, log["i"][0] + 1 + sum(work)))
    starts = np.cumsum(work)
    assert log["i"][2:] == [log["i"][0] + 1 + int(start) for start in starts[:-2]]


def test_cycles_of_the_worst_insertion():
    assert max(moves(UP)) == 63
    log = run([[UP]])
    assert log["i"][-1] - log["i"][-2] == 65


def random_commands(seed, most_columns=2, count=4):
    random = np.random.default_rng(seed)
    for _ in range(count):
        shape = (int(random.integers(1, most_columns + 1)), int(random.integers(1, 160)))
        codes = encode(rnd(random.normal(size=shape[1])))
        yield decode(random.choice(codes, shape))  # with repetitions: ties


@pytest.mark.parametrize("seed", range(6))
def test_random_with_stalls(seed):
    run(list(random_commands(seed)), padding=seed % 2, stall=(0.0, 0.3, 0.7)[seed % 3], seed=seed)


def test_most_columns():
    run(list(random_commands(8, most_columns=5, count=3)), padding=2, config=FIVE, stall=0.3)


def test_rows_out_of_order():
    """The unit cannot place them: a simulation says so."""
    sent = [word for word in words([[1.0, 2.0, 3.0]]) if word["row"] != 1]
    with pytest.raises(AssertionError, match="row 2 comes instead of row 1"):
        run_steps(Bench(CONFIG), [Step(send={"i": sent})], outputs=())


@pytest.mark.parametrize("simulator", ["verilator", "netlist"])
def test_verilated(simulator):
    commands = [*([case] for case in CASES.values()), *random_commands(1)]
    for stall in (0.0, 0.4):
        run(commands, padding=1, stall=stall, simulator=simulator)


def test_verilated_columns():
    run([*random_commands(2, most_columns=5, count=20)], padding=1, config=FIVE, simulator="verilator")
