"""The parts that streams are wired with: nothing is lost, doubled or out of order, whoever waits."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Module, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.streams import Queue, RegisterSlice, fork, join, route, select, with_payload
from tests.hw.simulation import SIMULATORS
from tests.hw.steps import Run, Step, run_steps

STALLS = (0.0, 0.3, 0.8)
PAIR = data.StructLayout({"a": signed(4), "b": 5})
OWNERS = 3
NOBODY, ALL = OWNERS, 7


def words(seed: int, count: int = 200) -> list[int]:
    choose = random.Random(seed)
    return [choose.getrandbits(9) for _ in range(count)]


WORDS = words(4)
TURNS = [random.Random(5).randrange(OWNERS + 1) for _ in WORDS]
"""Of which source or sink it is; NOBODY's turn takes a clock."""


@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize("stall", STALLS)
def test_order_and_content(stall: float, simulator: str) -> None:
    run = run_steps(RegisterSlice(9), [Step(send={"i": WORDS})], stall=stall, seed=2, simulator=simulator)
    assert run.received["o"] == WORDS


def test_a_payload_per_clock_one_clock_later() -> None:
    run = run_steps(RegisterSlice(9), [Step(send={"i": WORDS})])
    assert run.clocks["i"] == list(range(run.clocks["i"][0], run.clocks["i"][0] + len(WORDS)))
    assert run.clocks["o"] == [clock + 1 for clock in run.clocks["i"]]


@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("buffered", [False, True])
def test_a_queue_keeps_order_and_content(buffered: bool, stall: float, simulator: str) -> None:
    pairs = [{"a": word % 16 - 8, "b": word >> 4} for word in WORDS]
    run = run_steps(Queue(PAIR, 5, buffered=buffered), [Step(send={"i": pairs})], stall=stall, seed=2,
                    simulator=simulator)
    assert run.received["o"] == pairs
    assert stall or run.clocks["o"] == [clock + 1 + buffered for clock in run.clocks["i"]]


@pytest.mark.parametrize("buffered", [False, True])
def test_a_queue_takes_as_many_as_it_has_places_for(buffered: bool) -> None:
    steps = [Step(send={"i": WORDS[:3]}), Step(clocks=3, read=["level", "i.ready"]),
             Step(send={"i": WORDS[3:5]}), Step(clocks=3, read=["level", "i.ready"])]
    assert run_steps(Queue(9, 5, buffered=buffered), steps, outputs=[]).read == [[3, 1], [5, 0]]


class Wired(wiring.Component):
    """Three streams in or out, and turns."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        several, one = (Out, In) if kind in ("fork", "route") else (In, Out)
        self.branches = {f"s_{n}": several(stream.Signature(9)) for n in range(OWNERS)}
        super().__init__({**self.branches, "one": one(stream.Signature(10 if kind == "select" else 9)),
                          "turns": In(stream.Signature(range(8)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ends = [getattr(self, name) for name in self.branches]
        m.submodules.turns = turns = RegisterSlice(range(8))
        wiring.connect(m, wiring.flipped(self.turns), turns.i)
        turn, one = turns.o, self.one
        owners = [turn.valid & ((turn.payload == n) | (turn.payload == ALL)) for n in range(OWNERS)]
        if self.kind in ("select", "route"):
            m.d.comb += turn.ready.eq(one.valid & one.ready | (turn.payload == NOBODY))
        if self.kind == "select":
            select(m, platform, zip(owners, [with_payload(end, end.payload << 1) for end in ends], strict=True), one)
        elif self.kind == "route":
            route(m, platform, one, zip(owners, ends, strict=True))
        elif self.kind == "join":
            join(m, ends, one)
            m.d.comb += one.payload.eq(ends[0].payload ^ ends[1].payload ^ ends[2].payload)
        else:  # bit n of a turn: branch n wants the payload
            word = stream.Signature(9).create()
            join(m, [one, turn], word)
            m.d.comb += word.payload.eq(one.payload)
            slices = [RegisterSlice(9) for _ in ends]
            fork(m, word, [(turn.payload[n], part.i) for n, part in enumerate(slices)])
            for n, part in enumerate(slices):
                m.submodules[f"slice_{n}"] = part
                wiring.connect(m, part.o, wiring.flipped(ends[n]))
        return m


def play(kind: str, send: dict[str, list[int]], stall: float, simulator: str) -> Run:
    dut = Wired(kind)
    outputs = list(dut.branches) if kind in ("fork", "route") else ["one"]
    return run_steps(dut, [Step(send=send)], outputs=outputs, stall=stall, seed=3, simulator=simulator)


@pytest.mark.parametrize("simulator", SIMULATORS[:2])
@pytest.mark.parametrize("stall", STALLS)
def test_who_is_selected_is_taken_from(stall: float, simulator: str) -> None:
    send = {f"s_{n}": words(n, TURNS.count(n)) for n in range(OWNERS)}
    left = {n: iter(send[f"s_{n}"]) for n in range(OWNERS)}
    run = play("select", {**send, "turns": TURNS}, stall, simulator)
    assert run.received["one"] == [2 * next(left[turn]) for turn in TURNS if turn != NOBODY]


@pytest.mark.parametrize("simulator", SIMULATORS[:2])
@pytest.mark.parametrize("stall", STALLS)
def test_a_payload_is_routed_to_its_owner(stall: float, simulator: str) -> None:
    turns = [turn for turn in TURNS if turn != NOBODY]
    given = dict(enumerate(words(9, len(turns))))
    run = play("route", {"one": list(given.values()), "turns": turns}, stall, simulator)
    for n in range(OWNERS):
        assert run.received[f"s_{n}"] == [given[at] for at, turn in enumerate(turns) if turn == n]


def test_nothing_moves_without_an_owner() -> None:
    steps = [Step(send={"turns": [NOBODY]}), Step(clocks=3, read=["one.ready"])]
    assert run_steps(Wired("route"), steps, outputs=[]).read == [[0]]
    steps = [Step(send={"turns": [NOBODY]}), Step(clocks=3, read=["one.valid", "s_0.ready", "s_1.ready"])]
    assert run_steps(Wired("select"), steps, outputs=["one"]).read == [[0, 0, 0]]


@pytest.mark.parametrize("simulator", SIMULATORS[:2])
@pytest.mark.parametrize("stall", STALLS)
def test_a_fork_gives_to_all_that_want(stall: float, simulator: str) -> None:
    choose = random.Random(7)
    turns = [choose.randrange(8) for _ in WORDS]
    run = play("fork", {"one": WORDS, "turns": turns}, stall, simulator)
    for n in range(OWNERS):
        assert run.received[f"s_{n}"] == [word for word, turn in zip(WORDS, turns, strict=True) if turn >> n & 1]


@pytest.mark.parametrize("simulator", SIMULATORS[:2])
@pytest.mark.parametrize("stall", STALLS)
def test_a_join_takes_of_all(stall: float, simulator: str) -> None:
    send = {f"s_{n}": words(n) for n in range(OWNERS)}
    run = play("join", send, stall, simulator)
    assert run.received["one"] == [a ^ b ^ c for a, b, c in zip(*send.values(), strict=True)]


def test_a_fork_waits_for_nobody_who_does_not_want() -> None:
    """Nobody takes from the last branch, and two payloads fill it."""
    send = {"one": WORDS, "turns": [0b100] * 2 + [0b011] * (len(WORDS) - 2)}
    assert run_steps(Wired("fork"), [Step(send=send)], outputs=["s_0", "s_1"]).received["s_1"] == WORDS[2:]


@pytest.mark.parametrize("kind, send, error", [
    ("select", {"s_0": [1], "s_1": [2]}, "2 streams have the same taker"),
    ("route", {"one": [1]}, "3 takers have the same stream"),
])
def test_two_owners_are_found(kind: str, send: dict[str, list[int]], error: str) -> None:
    with pytest.raises(AssertionError, match=error):
        play(kind, {**send, "turns": [ALL]}, 0.0, "pysim")
