"""What is done with a unit, written down as steps, and played in any of the simulators.

The steps say what plain inputs hold, what is sent into streams, what is waited for and what is looked at; at the ends
of all streams are agents that stall as often as they are told, and look whether the unit keeps the rules of streams.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import reduce
from typing import Any

from amaranth.hdl import Const, Shape, Value
from amaranth.lib import data

from tests.hw.simulation import CLOCKS, simulate

__all__ = ["SILENCE", "Run", "Step", "plain", "run_steps", "run_stream"]

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


def plain(value: Any) -> Any:
    """A payload constant as a dictionary of its fields, a list of its elements, or an integer."""
    if not hasattr(value, "shape"):
        return value.value if isinstance(value, Enum) else int(value)
    fields = {name: plain(value[name]) for name, _ in value.shape()}
    return list(fields.values()) if isinstance(value.shape(), data.ArrayLayout) else fields


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


class _Port:
    """A port by its path, as bits."""

    def __init__(self, dut: Any, path: str) -> None:
        port = reduce(getattr, path.split("."), dut)
        self.shape, self.value = port.shape(), Value.cast(port).as_unsigned()
        self.mask = (1 << len(self.value)) - 1

    def bits(self, value: Any) -> int:
        """The port's own layout packs a value."""
        plain_number = isinstance(self.shape, Shape) and not isinstance(value, Enum)
        constant = value if plain_number else Const.cast(self.shape.const(value)).value
        return int(constant) & self.mask

    def plain(self, bits: int) -> Any:
        if not isinstance(self.shape, Shape):
            return plain(self.shape.from_bits(bits))
        return bits - self.mask - 1 if self.shape.signed and bits > self.mask >> 1 else bits


class _Source:
    """Sends what waits into a stream."""

    def __init__(self, dut: Any, name: str, stall: float, seed: int) -> None:
        self.name, self.stall, self.choose = name, stall, random.Random(f"{seed} {name}")
        self.valid, self.ready, self.payload = (_Port(dut, f"{name}.{part}") for part in ("valid", "ready", "payload"))
        self.waiting: deque[int] = deque()
        self.offers = False
        self.clocks: list[int] = []

    def drive(self, ctx: Any) -> None:
        if self.offers or not self.waiting:
            return
        self.offers = self.choose.random() >= self.stall
        ctx.set(self.payload.value, self.waiting[0] ^ (0 if self.offers else self.payload.mask))
        ctx.set(self.valid.value, self.offers)

    def look(self, ctx: Any, clock: int, ready: int) -> bool:
        if not (self.offers and ready):
            return False
        self.clocks.append(clock)
        ctx.set(self.payload.value, self.waiting.popleft() ^ self.payload.mask)
        ctx.set(self.valid.value, 0)
        self.offers = False
        return True


class _Sink:
    """Takes what a stream gives."""

    def __init__(self, dut: Any, name: str, stall: float, seed: int) -> None:
        self.name, self.stall, self.choose = name, stall, random.Random(f"{seed} {name}")
        self.valid, self.ready, self.payload = (_Port(dut, f"{name}.{part}") for part in ("valid", "ready", "payload"))
        self.offered: int | None = None
        self.ready_now = self.valid_first = False
        self.received: list[int] = []
        self.clocks: list[int] = []

    def drive(self, ctx: Any) -> None:
        chosen = self.choose.random() >= self.stall
        self.ready_now = chosen and (self.offered is not None or not self.valid_first)
        ctx.set(self.ready.value, self.ready_now)

    def look(self, clock: int, valid: int, payload: int) -> bool:
        number = len(self.received)
        if self.offered is not None:
            assert valid, f"{self.name}: valid fell before payload {number} was taken"
            assert payload == self.offered, f"{self.name}: payload {number} changed before it was taken"
        self.offered = payload if valid and not self.ready_now else None
        if not (valid and self.ready_now):
            return False
        self.received.append(payload)
        self.clocks.append(clock)
        self.valid_first = self.stall > 0 and self.choose.random() < 0.5
        return True


class _Pulse:
    """What a plain output holds while another is high."""

    def __init__(self, dut: Any, name: str, of: str) -> None:
        self.high, self.payload = _Port(dut, name), _Port(dut, of or name)
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
        self.sources = {name: _Source(dut, name, stall, seed) for step in steps for name in step.send}
        self.sinks = {name: _Sink(dut, name, stall, seed) for name in outputs}
        self.pulses = {name: _Pulse(dut, name, of) for name, of in pulses.items()}
        self.plain = {name: _Port(dut, name) for step in steps for name in (*step.set, *step.read)}
        self.plain |= {step.until: _Port(dut, step.until) for step in steps if step.until}
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
                source = self.sources[name]
                source.waiting.extend(map(source.payload.bits, payloads))
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
