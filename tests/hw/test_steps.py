"""Both simulators play steps alike: what is sent, set, watched and read, and what does not end."""

from __future__ import annotations

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from tests.hw.simulation import SIMULATORS
from tests.hw.steps import Run, Step, run_steps
from tests.hw.with_memories import WithMemories, load


class Sign(enum.Enum, shape=2):
    """Something that is no number."""

    ZERO = 0
    PLUS = 1
    MINUS = 2


WORD = data.StructLayout({"a": signed(5), "list": data.ArrayLayout(signed(3), 2), "sign": Sign})


class Adder(wiring.Component):
    """Adds a word of a memory, and an offset, to `a`; one payload at a time, which takes two clocks."""

    def __init__(self) -> None:
        super().__init__({
            "offset": In(signed(5)),
            "i": In(stream.Signature(WORD)),
            "o": Out(stream.Signature(WORD)),
            "second_i": In(stream.Signature(signed(4))),
            "sum": Out(signed(8)),
            "added": Out(1),
            "read": Out(wiring.Signature({"en": Out(1), "addr": Out(2), "data": In(signed(5))})),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word, offset, busy, ready = Signal(WORD), Signal(signed(5)), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~busy), self.read.en.eq(self.i.valid & ~busy), self.read.addr.eq(self.i.payload.a),
            self.second_i.ready.eq(1), self.added.eq(self.second_i.valid),
            self.o.payload.eq(word), self.o.payload.a.eq(word.a + self.read.data + offset),
            self.o.valid.eq(ready),
        ]
        m.d.sync += ready.eq((busy & ~ready) | (ready & ~self.o.ready))
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [word.eq(self.i.payload), offset.eq(self.offset), busy.eq(1)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += busy.eq(0)
        with m.If(self.second_i.valid):
            m.d.sync += self.sum.eq(self.sum + self.second_i.payload)
        return m


def word(a: int) -> dict:
    return {"a": a, "list": [a % 4, -(a % 4)], "sign": a % 3}


FIRST, SECOND = [-3, 0, 5, 2, -1], [1, -8, 7]
STEPS = [
    *load("read", ({"addr": n, "data": n - 2} for n in range(4))),
    Step(set={"offset": -3}, clocks=4, read=["sum"]),
    Step(send={"i": [word(a) for a in FIRST[:3]], "second_i": SECOND}, read=["sum"]),
    Step(set={"offset": 2}, clocks=8, read=["sum", "i.ready"]),
    Step(send={"i": [word(a) for a in FIRST[3:]]}),
    Step(read=["o.payload"], clocks=30),
]
SUMMED = [word(a) | {"a": a + (a % 4 - 2) + (-3 if n < 3 else 2)} for n, a in enumerate(FIRST)]


def play(simulator: str, stall: float = 0.0, seed: int = 0) -> Run:
    return run_steps(WithMemories(Adder()), STEPS, pulses={"added": "second_i.payload", "i.ready": ""}, stall=stall,
                     seed=seed, simulator=simulator)


@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_what_comes_out(simulator: str, stall: float) -> None:
    run = play(simulator, stall, seed=3)
    assert run.received["o"] == SUMMED
    assert run.received["added"] == SECOND
    assert len(run.clocks["i"]) == len(run.clocks["o"]) == len(FIRST)
    assert run.clocks["added"] == run.clocks["second_i"]
    assert all(out - into >= 2 for into, out in zip(run.clocks["i"], run.clocks["o"], strict=True))
    assert [values[0] for values in run.read] == [0, 0, 0, SUMMED[-1]]


def test_same_clocks_without_stalls() -> None:
    """The distances are the same; only what comes between two steps is each simulator's own."""
    runs = [play(simulator) for simulator in SIMULATORS]
    for run in runs:
        assert [out - into for into, out in zip(run.clocks["i"], run.clocks["o"], strict=True)] == [2] * len(FIRST)
        assert run.clocks["i"][2] - run.clocks["i"][0] == 6
    assert runs[0].received["o"] == runs[1].received["o"]


@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize("step, message", [
    (Step(set={"hold": 1}, send={"i": [1, 2]}), "i"),
    (Step(until="never"), "never"),
], ids=["not taken", "never high"])
def test_a_step_that_does_not_end_fails(step: Step, message: str, simulator: str) -> None:
    with pytest.raises(AssertionError, match=f"step 1 did not end: .*{message}"):
        run_steps(Stuck(), [Step(), step], outputs=[], simulator=simulator)


class Stuck(wiring.Component):
    """Takes nothing."""

    def __init__(self) -> None:
        super().__init__({"hold": In(1), "i": In(stream.Signature(4)), "never": Out(1), "count": Out(2)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.count.eq(self.count + 1)
        m.d.comb += self.i.ready.eq(~self.hold)
        return m
