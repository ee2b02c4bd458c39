"""A testbench runs alike in all simulators; its failures come through, and a unit that hangs fails soon."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.contract.config import PRESETS
from sim.bench import BenchError, run_bench
from sim.verilate import PROGRAM
from tests.hw import simulation
from tests.hw.simulation import SIMULATORS, Hung, send, simulate
from tests.hw.steps import Step, run_steps
from tests.sim.fakes import fake, processes


class Colour(enum.Enum, shape=2):
    """Something that is no number."""

    RED = 0
    GREEN = 1


PAIR = data.StructLayout({"low": data.ArrayLayout(4, 2), "high": data.ArrayLayout(64, 2), "colour": Colour})


class Counter(wiring.Component):
    """Counts clocks, and delays a pair by one; its stream takes payloads while `open` is high."""

    def __init__(self) -> None:
        super().__init__({"step": In(4, init=3), "count": Out(16), "next": Out(16), "i": In(PAIR), "o": Out(PAIR),
                          "open": In(1), "request": In(stream.Signature(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [self.next.eq(self.count + self.step), self.request.ready.eq(self.open)]
        m.d.sync += [self.count.eq(self.next), self.o.eq(self.i)]
        return m


def run(simulator: str, bench: Any, other: Any = None, **bounds: float) -> None:
    dut = Counter()

    async def first(ctx: Any) -> None:
        await bench(ctx, dut)

    async def second(ctx: Any) -> None:
        await other(ctx, dut)

    simulate(dut, first, background=[second] if other else [], simulator=simulator, **bounds)


async def use_everything(ctx: Any, dut: Counter) -> None:
    assert ctx.get(dut.count) == 0
    await ctx.tick()
    assert ctx.get(dut.count) == 3
    _, _, before, step = await ctx.tick().sample(dut.count, dut.step)
    assert (before, step) == (3, 3)
    ctx.set(dut.step, 1)
    assert ctx.get(dut.next) == 7
    await ctx.tick().repeat(4)
    assert ctx.get(dut.count) == 10
    (before,) = await ctx.tick().sample(dut.count).repeat(2)
    assert before == 11
    counts = []
    async for _, _, count in ctx.tick().sample(dut.count):
        counts.append(count)
        if len(counts) == 3:
            break
    assert counts == [12, 13, 14]
    ctx.set(dut.i, {"low": [1, 2], "high": [3, 4], "colour": Colour.GREEN})
    ctx.set(dut.i.high[1], (1 << 64) - 200)
    await ctx.tick()
    assert [int(n) for n in ctx.get(dut.o).high] == [3, (1 << 64) - 200]
    assert ctx.get(dut.o.low[1]) == 2
    assert ctx.get(dut.o.colour) is Colour.GREEN
    (value,) = await ctx.tick().sample(dut.o).until(dut.o.low[0])
    assert value.colour is Colour.GREEN
    ctx.set(dut.i.colour, Colour.RED)
    await ctx.tick()
    assert ctx.get(dut.o.colour) is Colour.RED


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_everything(simulator: str) -> None:
    """Each simulation starts anew."""
    run(simulator, use_everything)
    run(simulator, use_everything)


@pytest.mark.parametrize("simulator", SIMULATORS[:2])
def test_the_order_of_testbenches(simulator: str) -> None:
    """They go on one after the other, and each sees what those before it have set."""
    async def set_it(ctx: Any, dut: Counter) -> None:
        for step in range(4):
            ctx.set(dut.step, step)
            await ctx.tick()

    seen = []

    async def get_it(ctx: Any, dut: Counter) -> None:
        while True:
            seen.append((ctx.get(dut.step), ctx.get(dut.next) - ctx.get(dut.count)))
            await ctx.tick()

    run(simulator, set_it, get_it)
    assert seen[:4] == [(0, 0), (1, 1), (2, 2), (3, 3)]


async def wait(ctx: Any, dut: Counter) -> None:
    await ctx.tick().repeat(50)


async def fail(ctx: Any, dut: Counter) -> None:
    await ctx.tick().repeat(5)
    assert ctx.get(dut.count) == 16, "wrong count"


@pytest.mark.parametrize("benches", [(fail, None), (wait, fail)], ids=["in front", "in the background"])
@pytest.mark.parametrize("simulator", SIMULATORS[:2])
def test_failures(simulator: str, benches: Any) -> None:
    with pytest.raises(AssertionError, match="wrong count"):
        run(simulator, *benches)


@pytest.mark.parametrize("simulator", SIMULATORS[:2])
def test_what_is_no_port_is_refused(simulator: str) -> None:
    async def bench(ctx: Any, dut: Counter) -> None:
        await ctx.tick()
        ctx.set(dut.count + 1, 1)

    with pytest.raises((TypeError, ValueError), match="sig count"):
        run(simulator, bench)


# ---- units that hang

async def into_a_closed_stream(ctx: Any, dut: Counter) -> None:
    await send(ctx, dut.request, [1])


async def tick_for_ever(ctx: Any, dut: Counter) -> None:
    while not ctx.get(dut.open):
        await ctx.tick()


@pytest.mark.parametrize("bench, waits", [
    (into_a_closed_stream, r"simulation\.py:\d+: await ctx\.tick\(\)\.until\(port\.ready\), for request\.ready$"),
    (tick_for_ever, r"test_simulation\.py:\d+: await ctx\.tick\(\)$"),
], ids=["stream", "loop"])
@pytest.mark.parametrize("simulator", SIMULATORS[:2])
def test_a_unit_that_never_answers(simulator: str, bench: Any, waits: str) -> None:
    with pytest.raises(Hung, match=f"^no end after 300 clocks: first waits in {waits}"):
        run(simulator, bench, wait, clocks=300)


@pytest.mark.parametrize("simulator", SIMULATORS[:2])
def test_a_unit_that_takes_too_long(simulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow its clocks are."""
    monkeypatch.setattr(simulation, "CLOCKS_BETWEEN_LOOKS", 4)
    with pytest.raises(Hung, match=r"^no end after 0\.0 s: first waits in test_simulation\.py:\d+: await ctx\.tick"):
        run(simulator, tick_for_ever, seconds=0)


class Endless(wiring.Component):
    """Gives payloads for ever, and takes none."""

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(8)), "done": Out(1), "count": Out(2)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.count.eq(self.count + 1)
        m.d.comb += self.o.valid.eq(1)
        return m


@pytest.mark.parametrize("step, waits", [
    (Step(send={"i": [1, 2]}), "step 1 did not end: i: 2 of 2 payloads were not taken"),
    (Step(until="done"), "step 1 did not end: done was never high"),
], ids=["stream", "condition"])
@pytest.mark.parametrize("simulator", SIMULATORS[:2])
def test_steps_that_never_end(simulator: str, step: Step, waits: str) -> None:
    """Although something moves all the time."""
    with pytest.raises(Hung, match=f"^no end after 500 clocks: {waits}$"):
        run_steps(Endless(), [Step(), step], simulator=simulator, clocks=500)


@pytest.mark.parametrize("simulator", SIMULATORS[:2])
def test_a_run_that_never_ends(simulator: str) -> None:
    with pytest.raises(Hung, match=r"^no end after 500 clocks: after all steps, payloads came from o$"):
        run_steps(Endless(), [Step()], simulator=simulator, clocks=500)


def test_waves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WAVES", "1")
    for simulator in SIMULATORS[:2]:
        run(simulator, wait)
        path = Path(capsys.readouterr().out.removeprefix("waves: ").rstrip())
        assert path.parent == tmp_path / "build" / "waves"
        assert " count " in path.read_text()


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_the_example_of_the_document(simulator: str) -> None:
    """It runs as it stands there, and fails of a unit that is wrong."""
    text = (Path(__file__).parents[2] / "docs" / "testbench.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    assert len(example.splitlines()) <= 30
    for wrong in (False, True):
        names: dict[str, Any] = {"__name__": "example"}
        text = example.replace("2 * self.i", "3 * self.i") if wrong else example
        exec(compile(text, "docs/testbench.md", "exec", dont_inherit=True), names)
        for stall in (0.0, 0.5):
            with pytest.raises(AssertionError) if wrong else nullcontext():
                names["test_doubles"](stall, simulator)


def test_a_bench_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In cocotb; the simulator is a fake."""
    fake(tmp_path / PROGRAM, "echo 'running tests.a_bench.waits (1/1)'; exec sleep 1000")
    monkeypatch.setattr("sim.bench.build_model", lambda component, **_: tmp_path)
    with pytest.raises(BenchError, match=r"^tests\.a_bench did not end within 0\.5 s: running tests\.a_bench\.waits"):
        run_bench(None, PRESETS["tiny"], "tests.a_bench", timeout_s=0.5)
    assert not processes(str(tmp_path))


def test_a_bench_that_cannot_be_imported() -> None:
    with pytest.raises(BenchError, match=r"No module named 'tests.no_such_bench'\nthe simulator ended without"):
        run_bench(Counter(), PRESETS["tiny"], "tests.no_such_bench")
