"""Candidates lists and gives the rows of the golden split head, and says when there are too many of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from hw.contract.config import AccelConfig, preset
from hw.logits.candidates import Candidates
from hw.logits.interfaces import bound_word
from sim.golden.number import MAX_FLOAT, MIN_FLOAT, decode, encode, rnd
from sim.golden.split_head import Bounds, split_choice
from tests.hw.steps import Run, Step, run_steps

CONFIG = preset("tiny").replace(candidates=64)
SILENCE = 80
"""More clocks than reading a full list takes."""

STATUS = ("least", "listed", "overflow")
RANDOM = np.random.default_rng(7)


class Bench(wiring.Component):
    """The unit, with a stream in front of it that has `ready`. `done`: nothing more is offered."""

    def __init__(self, config: AccelConfig) -> None:
        self.config, self.unit = config, Candidates(config)
        super().__init__({
            **{name: member for name, member in self.unit.signature.members.items() if name != "i"},
            "i": In(stream.Signature(bound_word(config))), "done": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.unit = unit = self.unit
        wiring.connect(m, unit.o, wiring.flipped(self.o))
        taken = Signal()
        m.d.sync += taken.eq(~self.clear & (taken | (self.o.valid & self.o.ready & self.o.payload.last)))
        m.d.comb += [
            unit.clear.eq(self.clear), unit.i.valid.eq(self.i.valid), unit.i.payload.eq(self.i.payload),
            self.i.ready.eq(1), self.complete.eq(unit.complete),
            self.done.eq(unit.complete & (unit.overflow | unit.none | taken)), self.none.eq(unit.none),
            *(getattr(self, name).eq(getattr(unit, name)) for name in STATUS),
        ]
        return m


@dataclass(frozen=True)
class Column:
    """The bounds of the rows of a column, machine floats."""

    lower: NDArray[np.float64]
    upper: NDArray[np.float64]

    @property
    def scales(self) -> NDArray[np.int64]:
        """Codes, of each row another one."""
        return encode(rnd(1 + np.arange(len(self.lower)) / 128))

    def words(self, padding: int) -> list[dict[str, int]]:
        """Both bounds of each row, then those of the padding, which are larger than all."""
        lower, upper = (np.append(encode(bounds), [encode(MAX_FLOAT)] * padding) for bounds in (self.lower, self.upper))
        scales, rows = np.append(self.scales, [1] * padding), len(self.lower)
        return [{"upper": which, "row": row, "bound": int(bound), "scale": int(scales[row]), "padding": row >= rows,
                 "last": row == rows + padding - 1}
                for row in range(rows + padding) for which, bound in ((0, lower[row]), (1, upper[row]))]

    @property
    def listed(self) -> NDArray[np.bool_]:
        return self.upper >= np.maximum.accumulate(self.lower)

    def left(self) -> list[int]:
        return np.flatnonzero(self.listed & (self.upper >= self.lower.max())).tolist()

    def payloads(self) -> list[dict[str, int]]:
        """What is given when there is no overflow."""
        rows, upper = self.left(), encode(self.upper)
        return [{"row": row, "scale": int(self.scales[row]), "upper": int(upper[row]), "first": row == rows[0],
                 "last": row == rows[-1]} for row in rows]

    def status(self, config: AccelConfig) -> list[int]:
        count = int(self.listed.sum())
        return [int(encode(self.lower.max())), min(count, config.candidates), count > config.candidates]


def column(middle: Any, reach: Any = 0.25) -> Column:
    """Bounds around numbers."""
    middle = np.asarray(middle, dtype=float)
    return Column(rnd(middle - reach), rnd(middle + reach))


UP = np.arange(64.0)
SHUFFLED = RANDOM.permutation(np.arange(200.0))
FLOOR = column([0.0] * 4, MIN_FLOAT)

CASES = {
    "one row": column([3.0]),
    "one negative row": column([-3.0]),
    "one row of width 0": column([-3.0], 0.0),
    "ascending": column(UP),
    "descending": column(UP[::-1]),
    "ascending and wide": column(UP, 3.25),
    "descending and wide": column(UP[::-1], 3.25),
    "all equal": column([1.5] * 64),
    "all equal, of width 0": column([1.5] * 64, 0.0),
    "all zero": column([0.0] * 64, 0.0),
    "around zero": FLOOR,
    "an upper bound that is the lower bound of another": column([1.0, 1.5, 2.0, 1.5, 1.0], 0.25),
    "the same, lower": column([1.0, 1.5 - 2.0**-10, 2.0, 1.5 - 2.0**-16, 1.0], 0.25),
    "one huge upper bound": column(UP % 7, np.where(UP == 40, MAX_FLOAT, 0.25)),
    "a first row that stays": column([0.0, *UP], [100.0, *[0.25] * 64]),
    "a last row that is the best": column([*UP % 7, 100.0]),
    "all but the last dropped": column([*[1.0] * 63, 100.0]),
    "first and last of many": column([5.0, *[1.0] * 62, 5.25], [0.25, *[4.0] * 62, 0.25]),
    "negative": column(-1 - UP % 5, 0.75),
    "negative and positive": column([-2.0, -1.0, 0.0, -0.5, 0.25, -0.125], 0.5),
    "limits": column([-MAX_FLOAT, MAX_FLOAT, 0.0, MAX_FLOAT, -MAX_FLOAT], 1.0),
    "lowest": column([-MAX_FLOAT] * 3, 0.0),
    "shuffled": column(SHUFFLED, 20.0),
    "below themselves, none listed": Column(np.array([3.0, 1.0]), np.array([2.0, 0.0])),
    "below themselves, one row": Column(np.array([-1.0]), np.array([-2.0])),
    "below themselves, those listed are dropped": Column(np.array([0.0, 1.0, 5.0]), np.array([1.0, 2.0, 4.0])),
    "below themselves, some are left": Column(np.array([3.0, 1.0, 2.0]), np.array([2.0, 9.0, 3.0])),
    "neighbors": Column(*(decode(encode(np.asarray(1.0)) + UP.astype(int) * 37 % 64 + n) for n in (0, 20))),
}


def filled(count: int) -> Column:
    """So many rows that are listed, among others that are not."""
    middle = np.zeros(3 * count)
    middle[::3] = 2.0
    return column(middle[: 3 * count - 2])


BOUNDARY = {f"{name}, {count} rows": make(count) for count in (63, 64, 65, 66, 200) for name, make in {
    "all": lambda count: column([2.0] * count, 0.0),
    "all but the last one dropped": lambda count: column(np.arange(float(count)), 0.25),
    "every third": filled,
}.items()}


def random_columns(seed: int, count: int = 12) -> list[Column]:
    """Some that fit, some that do not."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        rows = int(random.integers(1, 200))
        middle = random.choice(rnd(random.normal(size=rows) * 10), rows)  # with repetitions: ties
        found.append(column(middle, random.choice([0.0, 1.0, 8.0, 20.0]) * random.choice([1.0, 0.5], rows)))
    return found


def check(columns: Sequence[Column], padding: int = 0, config: AccelConfig = CONFIG, **options: Any) -> Run:
    """One list behind the other; each is read before the next."""
    steps, payloads = [], []
    for one in columns:
        wanted = [] if one.status(config)[2] else one.payloads()
        steps += [Step(set={"clear": 1}, clocks=1), Step(set={"clear": 0}, read=("complete", "listed", "overflow")),
                  Step(send={"i": one.words(padding)}), Step(until="complete", read=("complete", *STATUS)),
                  Step(until="done"), Step(clocks=9, read=("complete", *STATUS, "none"))]
        payloads += wanted
    run = run_steps(Bench(config), steps, silence=SILENCE, **options)
    assert run.received["o"] == payloads
    for n, one in enumerate(columns):
        cleared, complete, later = run.read[3 * n : 3 * n + 3]
        assert cleared == [0, 0, 0]
        assert complete == later[:-1] == [1, *one.status(config)]
        assert later[-1] == (not one.left() and not one.status(config)[2])
    return run


@pytest.mark.parametrize("name", CASES)
def test_named(name: str) -> None:
    check([CASES[name]], padding=len(name) % 3)


@pytest.mark.parametrize("name", BOUNDARY)
def test_as_many_as_fit(name: str) -> None:
    """Of CONFIG.candidates rows all are given, of one more none."""
    check([BOUNDARY[name], CASES["ascending and wide"]], padding=1)


def test_one_list_behind_the_other() -> None:
    check([*CASES.values(), *BOUNDARY.values()], padding=2)


def test_random_columns_are_of_both_kinds() -> None:
    found = [one.status(CONFIG)[2] for seed in range(6) for one in random_columns(seed)]
    assert 5 < sum(found) < len(found) // 2


@pytest.mark.parametrize("seed", range(6))
def test_random_with_stalls(seed: int) -> None:
    check(random_columns(seed), padding=seed % 2, stall=(0.0, 0.3, 0.7)[seed % 3], seed=seed)


def test_longer_list() -> None:
    config = CONFIG.replace(candidates=256)
    check([column([1.0] * rows) for rows in (256, 257, 65)] + random_columns(9, 4), config=config)


def test_the_golden_model_selects_the_same_rows() -> None:
    """Exact logits come from codes, so that the choice of the golden model can be compared."""
    random = np.random.default_rng(3)
    for candidates in (1000, 30):
        a16, rows = random.integers(-9, 9, 8), random.integers(-127, 128, (300, 8))
        logits = (rows @ a16).astype(float)
        one = Column(rnd(logits - 300), rnd(logits + 300))
        choice = split_choice(Bounds(one.lower, one.upper), a16, 1.0, rows, np.ones(300), candidates)
        assert choice.listed == min(int(one.listed.sum()), candidates)
        if choice.token is None:
            assert one.listed.sum() > candidates
        else:
            assert choice.rescored == len(one.left())
            assert choice.token in one.left()


def test_cycles() -> None:
    """A row per clock from 4 clocks behind `complete` on, and one clock for each that is dropped."""
    for one in (column([1.0] * 40), CASES["first and last of many"]):
        steps = [Step(set={"clear": 1}), Step(set={"clear": 0}, send={"i": one.words(0)}), Step(clocks=100)]
        clocks = run_steps(Bench(CONFIG), steps, pulses={"complete": ""}, silence=SILENCE).clocks
        assert clocks["i"] == list(range(clocks["i"][0], clocks["i"][0] + 2 * len(one.lower)))
        complete = clocks["complete"][0]
        assert complete == clocks["i"][-1] + Candidates.LATENCY
        rows = one.left()  # all are listed
        offers = [*rows[1:], rows[-1] + 1]
        assert clocks["o"] == [complete + 3 + row for row in offers]


def test_one_row_is_given_as_early_as_two() -> None:
    for middle in ([1.0], [1.0, 1.0]):
        steps = [Step(set={"clear": 1}), Step(set={"clear": 0}, send={"i": column(middle).words(0)})]
        clocks = run_steps(Bench(CONFIG), steps, pulses={"complete": ""}).clocks
        assert clocks["o"][0] == clocks["complete"][0] + 4


def test_clear_behind_an_overflow() -> None:
    """`clear` right behind `complete`, also in the clock in which it rises."""
    one, two = BOUNDARY["all, 65 rows"], CASES["shuffled"]
    for late in range(1, 6):
        steps = [Step(set={"clear": 1}), Step(set={"clear": 0}, send={"i": one.words(0)}, clocks=1), Step(clocks=late),
                 Step(set={"clear": 1}), Step(set={"clear": 0}, send={"i": two.words(0)}), Step(until="complete")]
        assert run_steps(Bench(CONFIG), steps, silence=SILENCE).received["o"] == two.payloads()


@pytest.mark.parametrize("count", [1, 2, 9, 10, 128, 129, 130])
def test_a_list_that_was_not_finished(count: int) -> None:
    """`clear` forgets it."""
    one, two = BOUNDARY["all, 66 rows"], CASES["shuffled"]
    steps = [Step(set={"clear": 1}), Step(set={"clear": 0}, send={"i": one.words(0)[:count]}),
             Step(set={"clear": 1}), Step(set={"clear": 0}, send={"i": two.words(0)}), Step(until="complete")]
    assert run_steps(Bench(CONFIG), steps, silence=SILENCE).received["o"] == two.payloads()


def wrong(change: dict[int, dict[str, int]]) -> list[dict[str, int]]:
    words = column([1.0, 2.0, 3.0]).words(0)
    return [word | change.get(n, {}) for n, word in enumerate(words)]


@pytest.mark.parametrize(("change", "text"), [
    ({1: {"upper": 0}}, "the upper bound of row 0 does not follow"),
    ({3: {"row": 2}}, "the upper bound of row 1 does not follow"),
    ({2: {"upper": 1}}, "the lower bound of row 1 is missing"),
    ({4: {"row": 1}}, "row 1 comes behind row 1"),
    ({3: {"last": 1}}, "a bound comes behind the last one"),
    ({n: {"padding": 1} for n in range(6)}, "a list has no row"),
])
def test_rules(change: dict[int, dict[str, int]], text: str) -> None:
    with pytest.raises(AssertionError, match=text):
        run_steps(Bench(CONFIG), [Step(set={"clear": 1}), Step(set={"clear": 0}, send={"i": wrong(change)})])


@pytest.mark.parametrize("simulator", ["verilator", "netlist"])
def test_verilated(simulator: str) -> None:
    for stall in (0.0, 0.4):
        check([*CASES.values(), *BOUNDARY.values(), *random_columns(1)], padding=1, stall=stall, simulator=simulator)
