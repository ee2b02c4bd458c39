"""What is done with a unit, written down as steps, and played in any of the simulators.

The steps say what plain inputs hold, what is sent into streams, what is waited for and what is looked at; at the ends
of all streams are agents (`streams.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.hw.simulation import CLOCKS, simulate
from tests.hw.streams import Port, Sink, Source

__all__ = ["SILENCE", "Run", "Step", "run_steps", "run_stream"]

SILENCE = 40
"""Clocks without a transfer after which a run has ended, when no end stalls; more of them when ends do."""


@dataclass(frozen=True)
class Step:
    """One step of a bench; ports are named by their path, "read.addr". The next begins when this has ended.

    Attributes:
        set: values of plain inputs, from the first clock on, until a later step sets others.
        send: payloads per input stream, side by side; the step lasts until all were taken.
        until: a plain output; the step lasts until it was high in a clock of the step.
        clocks: how long the step lasts at least.
        read: plain outputs whose values in the last clock of the step are recorded.
    """

    set: Mapping[str, Any] = field(default_factory=dict)
    send: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    until: str = ""
    clocks: int = 1
    read: Sequence[str] = ()


@dataclass
class Run:
    """What came out. `received` and `clocks` (numbers of the clocks) have an entry per transfer of every stream and per
    high clock of every pulse; inputs have clocks only. `read` has an entry per step that reads."""

    received: dict[str, list[Any]] = field(default_factory=dict)
    clocks: dict[str, list[int]] = field(default_factory=dict)
    read: list[list[Any]] = field(default_factory=list)


def run_steps(
    dut: Any, steps: Sequence[Step], *, outputs: Sequence[str] = ("o",), pulses: Mapping[str, str] | None = None,
    stall: float = 0.0, seed: int = 0, silence: int = SILENCE, simulator: str = "pysim", clocks: int = CLOCKS,
) -> Run:
    """Play the steps, then go on until nothing moves any more.

    In an idle clock a payload that is sent is the complement of a real one: nobody may use it. A payload that is
    received must stay until it is taken; with stalls, before half of them `ready` stays low until `valid` is high, so
    that a unit whose `valid` waits for `ready` stands still.

    Args:
        dut: the component under test.
        steps: what to do, one after the other.
        outputs: streams that are taken from all the time.
        pulses: plain outputs that say, while high, that another one holds a value; "" for none. No transfers: they
            keep no run alive.
        stall: probability that an end of a stream waits in a clock, 0 to 1.
        seed: of the stalls.
        silence: clocks without a transfer, when no end stalls, after which the run has ended or failed.
        simulator: one of SIMULATORS.
        clocks: how many there may be in all.

    Raises:
        AssertionError: a step did not end, a stream broke a rule, a watch of the unit failed.
        Hung: the run did not end.
    """
    play = _Play(dut, steps, outputs, pulses or {}, stall, seed, round(silence / (1 - stall)))
    simulate(dut, play.run, simulator=simulator, clocks=clocks, explain=play.waits)
    return play.result()


def run_stream(
    dut: Any, inputs: Mapping[str, Sequence[Any]], *, output: str = "o", prepare: Sequence[Step] = (), **options: Any,
) -> tuple[list[Any], dict[str, list[int]]]:
    """For a unit whose work is to take streams and give one: all inputs at once, after the steps `prepare`.

    Options are those of `run_steps`. Returns the received payloads, and per stream the numbers of the clocks with a
    transfer. All inputs must have been taken.
    """
    run = run_steps(dut, [*prepare, Step(send=inputs)], outputs=[output], **options)
    return run.received[output], run.clocks


class _Pulse:
    """What a plain output holds while another is high."""

    def __init__(self, dut: Any, name: str, of: str) -> None:
        self.high, self.payload = Port(dut, name), Port(dut, of or name)
        self.received: list[int] = []
        self.clocks: list[int] = []

    def look(self, clock: int, high: int, payload: int) -> None:
        if high:
            self.received.append(payload)
            self.clocks.append(clock)


class _Play:
    """All of a run: the steps, and what is at the ports meanwhile."""

    def __init__(
        self, dut: Any, steps: Sequence[Step], outputs: Sequence[str], pulses: Mapping[str, str], stall: float,
        seed: int, patience: int,
    ) -> None:
        self.dut, self.steps, self.patience = dut, steps, patience
        self.sources = {name: Source(dut, name, stall, seed) for step in steps for name in step.send}
        self.sinks = {name: Sink(dut, name, stall, seed) for name in outputs}
        self.pulses = {name: _Pulse(dut, name, of) for name, of in pulses.items()}
        self.plain = {name: Port(dut, name) for step in steps for name in (*step.set, *step.read)}
        self.plain |= {step.until: Port(dut, step.until) for step in steps if step.until}
        self.read: list[list[int]] = []
        self.clock = self.moved = 0
        self.step, self.high = -1, True

    def result(self) -> Run:
        given = self.sinks | self.pulses
        read = iter(self.read)
        return Run(
            {name: [end.payload.plain(bits) for bits in end.received] for name, end in given.items()},
            {name: end.clocks for name, end in (self.sources | given).items()},
            [[self.plain[name].plain(bits) for name, bits in zip(step.read, next(read), strict=True)]
             for step in self.steps if step.read],
        )

    async def run(self, ctx: Any) -> None:
        looked = {name: self.plain[name] for step in self.steps for name in (*step.read, step.until) if name}
        signals = [port.value for port in looked.values()]
        signals += [source.ready.value for source in self.sources.values()]
        for end in self.sinks.values():
            signals += [end.valid.value, end.payload.value]
        for end in self.pulses.values():
            signals += [end.high.value, end.payload.value]
        steps = self._steps(ctx)
        next(steps)
        self._drive(ctx)
        async for _, _, *values in ctx.tick().sample(*signals):
            self.clock += 1
            found = iter(values)
            seen = {name: next(found) for name in looked}
            try:
                steps.send(seen)  # before the ends: what it gives them moves in the same clock
            except StopIteration:
                return
            for end in self.sources.values():
                if end.look(ctx, self.clock, next(found)):
                    self.moved = self.clock
            for end in self.sinks.values():
                if end.look(self.clock, next(found), next(found)):
                    self.moved = self.clock
            for end in self.pulses.values():
                end.look(self.clock, next(found), next(found))
            self._drive(ctx)

    def _drive(self, ctx: Any) -> None:
        for end in (*self.sources.values(), *self.sinks.values()):
            end.drive(ctx)

    def _steps(self, ctx: Any) -> Iterator[None]:
        """Goes from clock to clock, and gets what was seen in each."""
        seen: Any = None
        for step in self.steps:
            self.step += 1
            for name, value in step.set.items():
                port = self.plain[name]
                ctx.set(port.value, port.bits(value))
            for name, payloads in step.send.items():
                self.sources[name].send(payloads)
            self.high, left = not step.until, step.clocks
            self.moved = self.clock
            while not self.high or left > 0 or any(self.sources[name].waiting for name in step.send):
                seen = yield
                left, self.high = left - 1, self.high or bool(seen[step.until])
                assert self.clock - self.moved - max(0, step.clocks) < self.patience, self.waits()
            if step.read:
                self.read.append([seen[name] for name in step.read])
        self.step += 1
        self.moved = self.clock
        while self.clock - self.moved < self.patience:
            yield

    def waits(self) -> str:
        """What the run waits for."""
        if self.step == len(self.steps):
            moving = [name for name, end in self.sinks.items() if end.clocks and end.clocks[-1] >= self.moved]
            return f"after all steps, payloads came from {', '.join(moving)}"
        step = self.steps[self.step]
        left = {name: len(self.sources[name].waiting) for name in step.send}
        found = [f"{name}: {count} of {len(step.send[name])} payloads were not taken" for name, count in left.items()
                 if count]
        return f"step {self.step} did not end: {'; '.join(found + [f'{step.until} was never high'] * (not self.high))}"
